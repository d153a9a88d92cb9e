"""The sentences follow the numbers: change a number, and the sentence must change with it."""

import pytest

from pipeline.report.inputs import Inputs
from pipeline.report.sentences.findings import findings
from pipeline.report.table import Table, build_tables, candidates, metric_label, split_direction
from pipeline.report.yardstick import yardstick
from tests.report import world


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(world.build(tmp_path_factory.mktemp("run")), world.CONNECTIONS, world.TASKS)


def said(inputs: Inputs, spread: float = 0.02, **recall: float) -> list[tuple[str, bool]]:
    """Findings for invented recalls; methods are named by connection for the trained ones."""
    records = []
    for (connection, method), default in world.METHODS.items():
        name = connection if method in ("cmcr", "oracle") else method
        value = recall.get(name, default)
        low = max(value - spread, 0.0)
        records.append(
            {
                "connection": connection,
                "method": method,
                "task": "t",
                "dataset": "d",
                "direction": "mean",
                "metric": "R@10",
                "value": value,
                "ci_low": low,
                "ci_high": value + spread,
                "n": 800,
                "chance": 0.0125,
            }
        )
    [table] = build_tables(records, inputs.connections)
    return [(finding.text.replace("\xa0", " "), finding.loud) for finding in findings(table, inputs)]


def one(found: list[tuple[str, bool]], part: str) -> tuple[str, bool]:
    [match] = [finding for finding in found if part in finding[0]]
    return match


def test_controls_at_chance_are_calm(inputs):
    text, loud = one(said(inputs), "At chance")
    assert not loud
    assert "Untrained" not in text, "a random map is near chance, not exactly at it"
    assert "shuffled" in text


def test_a_control_above_chance_is_loud(inputs):
    text, loud = one(said(inputs, shuffled=0.05), "not at chance")
    assert loud
    assert "5.0 %" in text


def test_best_baseline_is_named_with_its_ratio(inputs):
    text, _ = one(said(inputs, audio_image=0.6, procrustes=0.2, two_hop_softmax=0.4), "linear or two-hop")
    assert "1.50 x" in text
    assert "Two hops, softmax" in text
    assert "do not overlap" in text
    text, _ = one(said(inputs, audio_image=0.6, procrustes=0.58), "linear or two-hop")
    assert "Orthogonal Procrustes" in text
    assert "but their intervals overlap" in text


@pytest.mark.parametrize(
    ("bridge", "part"),
    [(0.66, "reaches the same"), (0.30, "is better than the training-free"), (0.90, "without any training, is better")],
)
def test_bridge_is_judged_by_intervals(inputs, bridge, part):
    one(said(inputs, bridge=bridge), part)


@pytest.mark.parametrize(
    ("low", "high", "part"),
    [(0.004, 0.04, "is better than the training-free"), (-0.01, 0.05, "its training adds nothing measurable to R@10")],
)
def test_the_difference_on_the_same_samples_counts_more_than_two_intervals(inputs, monkeypatch, low, high, part):
    """The intervals of bridge and connection overlap, and so do those of it and of the best hop."""
    place = {"task": "t", "dataset": "d", "direction": "mean", "metric": "R@10", "connection": world.MAIN}
    records = [
        {**place, "against": f"baseline/{name}", "value": 0.02, "ci_low": low, "ci_high": high}
        for name in ("bridge", "two_hop_softmax")
    ]
    monkeypatch.setitem(inputs.__dict__, "differences", records)
    found = said(inputs, audio_image=0.66, bridge=0.64, two_hop_softmax=0.64)
    text, _ = one(found, part)
    assert "interval of their difference" in text
    text, _ = one(found, "linear or two-hop")
    assert "+2.0 points on the same samples" in text and ("may be chance" in text) == (low < 0)


@pytest.mark.parametrize(("items", "label"), [(800, "R@10"), (200, "R@10"), (199, "R@5"), (100, "R@5"), (99, "R@1")])
def test_few_items_are_compared_at_few_candidates(items, label):
    """Of ten candidates among a hundred nearly every method has the true one."""
    row = {"connection": "", "method": "bridge", "task": "t", "dataset": "d", "direction": "mean", "value": 0.5}

    def table(*metrics: str) -> Table:
        [built] = build_tables([{**row, "metric": metric, "n": items, "chance": 0.1} for metric in metrics], {})
        return built

    assert yardstick(table("R@1", "R@5", "R@10")) == label
    assert yardstick(table("R@10", "mAP")) == "R@10", "the only recall there is"
    assert yardstick(table("mAP")) is None


@pytest.mark.parametrize("bound", [0.0, 0.005, 0.0125])
def test_an_oracle_at_chance_bounds_nothing(inputs, bound):
    text, loud = one(said(inputs, true_pairs=bound, audio_image=0.0), "oracle is not above")
    assert loud and "chance" in text


def test_oracle_gives_the_share_of_the_way(inputs):
    text, loud = one(said(inputs, audio_image=0.5125, true_pairs=1.0125), "of the way")
    assert "50 %" in text
    assert not loud
    _, loud = one(said(inputs, true_pairs=0.3), "not above the connection")
    assert loud


def test_groups_follow_the_control_in_the_fingerprint(inputs):
    tables = build_tables(inputs.metrics, inputs.connections)
    groups = {(row.connection, row.method): row.group for row in tables[0].rows}
    assert groups["shuffled", "cmcr"] == "control"
    assert groups["audio_image", "cmcr"] == "connection"
    assert groups["true_pairs", "oracle"] == "bound"
    assert groups["audio_image", "bridge"] == "baseline"
    assert [table.direction for table in tables] == ["mean", "audio->image", "image->audio"]


def test_candidates_are_the_queries_of_the_other_direction():
    def table(direction: str, n: int) -> Table:
        record = {"connection": "", "method": "bridge", "task": "t", "dataset": "d", "direction": direction}
        [built] = build_tables([{**record, "metric": "R@1", "value": 0.5, "n": n, "chance": 0.1}], {})
        return built

    tables = [table("text->image", 500), table("image->text", 100)]
    assert candidates(tables, tables[0]) == 100
    assert candidates(tables, tables[1]) == 500
    assert candidates(tables[:1], tables[0]) is None


def test_names_of_metrics_and_directions():
    assert metric_label("recall@10") == metric_label("R@10") == "R@10"
    assert metric_label("median_rank") == "median rank"
    assert split_direction("audio->image") == ("audio", "image")
    assert split_direction("mean") is None


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        ((-0.030, -0.050, -0.011), "loses 3.0 points to the best baseline, two hops, softmax, at R@10"),
        ((0.021, 0.004, 0.040), "gains 2.1 points on the best baseline, two hops, softmax, at R@10"),
        (
            (-0.0002, -0.020, 0.012),
            "is level with the best baseline, two hops, softmax, at R@10 on the same samples (95 % interval -2.0 to +1.2).",
        ),
        ((-0.004, -0.020, 0.012), "(95 % interval -2.0 to +1.2), which may be chance."),
    ],
)
def test_a_connection_is_held_against_the_best_baseline(inputs, monkeypatch, difference, sentence):
    """Not against the bridge here, which is worse; and by the difference on the same samples, not by two intervals."""
    place = {"task": "t", "dataset": "d", "direction": "mean", "metric": "R@10", "connection": world.MAIN}
    value, low, high = difference
    record = {**place, "against": "baseline/two_hop_softmax", "value": value, "ci_low": low, "ci_high": high}
    monkeypatch.setitem(
        inputs.__dict__, "differences", [{**record, "against": "baseline/bridge", "value": 9.0}, record]
    )
    found = said(inputs, two_hop_softmax=0.7, bridge=0.3)
    text, _ = one(found, "the best baseline")
    assert text.startswith(f"C-MCR ({world.MAIN})") and sentence in text
    monkeypatch.setitem(inputs.__dict__, "differences", None)
    assert not [text for text, _ in said(inputs) if "on the same samples" in text], "without resamples nothing is said"


def test_two_intervals_that_overlap_decide_nothing_between_connections(inputs, monkeypatch):
    """Only differences from the first connection of a task are measured."""
    monkeypatch.setitem(inputs.__dict__, "differences", None)
    row = {"task": "t", "dataset": "d", "direction": "mean", "metric": "R@10", "n": 800, "chance": 0.0125}
    records = [
        {**row, "connection": name, "method": method, "value": 0.6, "ci_low": 0.5, "ci_high": 0.7}
        for name, method in ((world.MAIN, "cmcr"), ("other", "coupling"))
    ]
    [table] = build_tables(records, inputs.connections)
    texts = [finding.text for finding in findings(table, inputs)]
    assert any("the intervals overlap; the difference on the same samples was not measured" in text for text in texts)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (None, "70.0 %, kept within the interval."),
        ((0.0, 0.0, 0.0), "70.0 %, kept within the interval: +0.0 points on the same samples"),
        ((-0.02, -0.03, -0.01), "70.0 %, not kept: -2.0 points on the same samples (95 % interval -3.0 to -1.0)."),
        ((0.02, 0.01, 0.03), "70.0 %, improved: +2.0 points on the same samples (95 % interval +1.0 to +3.0)."),
    ],
)
def test_what_a_space_kept_is_told_by_the_paired_difference(inputs, monkeypatch, difference, sentence):
    """Equal numbers of two methods, such as 100 % twice, do not say that any bit was kept: C-MCR projects every space."""
    place = {"task": "t", "dataset": "d", "direction": "mean", "metric": "R@10"}
    number = {**place, "value": 0.7, "ci_low": 0.68, "ci_high": 0.72, "n": 800, "chance": 0.0125}
    table = [
        {**number, "connection": world.MAIN, "method": "cmcr"},
        {**number, "connection": "clip", "method": "frozen"},
    ]
    against = {**place, "connection": world.MAIN, "against": "frozen/clip"}
    record = [against | dict(zip(("value", "ci_low", "ci_high"), difference, strict=True))] if difference else None
    monkeypatch.setitem(inputs.__dict__, "differences", record)
    [built] = build_tables(table, inputs.connections)
    [text] = [one.text.replace("\xa0", " ") for one in findings(built, inputs) if "by itself" in one.text]
    assert sentence in text
