"""The chart that the page opens with: its order, its lines and its words are those of the numbers."""

import re

import pytest

from pipeline.report.answer import answer, costs
from pipeline.report.connection_files import ConnectionFiles
from pipeline.report.inputs import Inputs
from pipeline.report.settings import ReportSettings
from pipeline.report.table import build_tables
from pipeline.report.write import write_report
from tests.report import world


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(world.build(tmp_path_factory.mktemp("run")), world.CONNECTIONS, world.TASKS)


def changed(inputs, **recall):
    """The chart, where methods have other recalls in both directions and their mean."""
    records = [dict(record) for record in inputs.metrics]
    for record in records:
        name = record["connection"] if record["method"] in ("cmcr", "oracle") else record["method"]
        if record["metric"] == "R@10" and name in recall:
            record |= {"value": recall[name], "ci_low": recall[name] - 0.01, "ci_high": recall[name] + 0.01}
    return answer(build_tables(records, inputs.connections), inputs)


def test_the_best_stands_first_and_lines_stand_at_what_it_is_compared_with(inputs):
    shown = changed(inputs)
    values = [bar.cell.value for bar in shown.bars]
    assert values == sorted(world.METHODS.values(), reverse=True)
    assert shown.marks == pytest.approx({"chance": 0.0125, "free": 0.655, "ceiling": 0.91})
    assert shown.title == "audio and image, R@10, 800 items"


@pytest.mark.parametrize(
    ("recall", "words"),
    [
        ({}, ["C-MCR (audio_image)", "R@10 66.0", "53 times chance", "0.5 points above the training-free bridge", "72 % of the way", "91.0"]),
        ({"bridge": 0.7}, ["4.0 points below the training-free bridge"]),
        ({"two_hop_softmax": 0.8}, ["14.0 points below two hops, softmax"]),
        ({"audio_image": 0.0125}, ["1 times chance", "0 % of the way"]),
    ],
)  # fmt: skip
def test_the_sentence_follows_the_numbers(inputs, recall, words):
    said = changed(inputs, **recall).sentence.replace("\xa0", " ")
    assert all(word in said for word in words), said


def test_untrained_projectors_are_no_rival_and_a_control_is_no_answer(inputs):
    shown = changed(inputs, untrained=0.99, shuffled=0.98)
    assert shown.free.name == "Training-free bridge"
    assert shown.sentence.startswith("C-MCR (audio_image)")


@pytest.mark.parametrize(
    ("own", "words"),
    [(0.7, "Bridge (bridged) is the best"), (0.7, "with nothing trained"), (0.658, "0.2 points above Bridge, the best without training")],
)  # fmt: skip
def test_a_connection_that_trains_nothing_is_one_of_those_without_training(inputs, own, words):
    """It is not held against lesser baselines as if it had been trained."""
    folder = inputs.data / "models" / "bridged"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"schema_version": 2, "method": "bridge", "links": []}')
    made = [record for record in inputs.metrics if record["method"] == "cmcr" and record["connection"] == world.MAIN]
    made = [{**record, "connection": "bridged", "method": "bridge", "value": own} for record in made]
    connections = {**inputs.connections, "bridged": ConnectionFiles(inputs.data, "bridged", ())}
    assert words in answer(build_tables([*inputs.metrics, *made], connections), inputs).sentence


def test_the_page_opens_with_it_and_draws_what_it_says(inputs, tmp_path):
    html = write_report(inputs.data, world.CONNECTIONS, world.TASKS, ReportSettings(), tmp_path).page.read_text()
    assert html.index('class="answer"') < html.index("What was connected") < html.index('id="results"')
    drawn = re.findall(
        r'class="stretch".*?class="chance" d="M([\d.]+) .*?class="range" d="M([\d.]+) 10H([\d.]+)".*?class="point" d="M([\d.]+) ',
        html,
    )
    bars = answer(build_tables(inputs.metrics, inputs.connections), inputs).bars
    assert len(drawn) == len(bars) == len(world.METHODS)
    for (chance, low, high, value), bar in zip(drawn, bars, strict=True):
        told = (1.25, 100 * bar.cell.low, 100 * bar.cell.high, 100 * bar.cell.value)
        assert [float(each) for each in (chance, low, high, value)] == pytest.approx(told, abs=0.06)


def test_costs_count_pairs_and_steps(inputs):
    found = {cost.name: cost for cost in costs(inputs)}
    assert list(found) == [world.MAIN, world.ORACLE]  # a control is no way to a result
    assert (found[world.MAIN].pairs, found[world.MAIN].true_pairs, found[world.MAIN].steps) == (12, 0, 240)
    assert found[world.ORACLE].true_pairs == 12
