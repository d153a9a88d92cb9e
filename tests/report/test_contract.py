"""What the report reads is what the stages before it write: the stages meet in files, and here their words are compared."""

from dataclasses import fields

import pyarrow.parquet as pq
import pytest

from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.results.tables import SCHEMAS
from pipeline.methods import implementation, methods
from pipeline.report.connection_files import BOUND, CONNECTION, ConnectionFiles
from pipeline.report.provenance import COUNTED
from pipeline.report.sentences.story import PAIRS
from pipeline.report.table import BASELINE, CONTROLS, GROUPS, HUBS, TOWERS, UNTRAINED, build_tables, called
from pipeline.retrieve.maker import Neighbour
from tests.makers.links import make_link
from tests.report import world

METHODS = {"mine": "bridge", "other": "cmcr"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_tables_of_evaluate(tmp_path, name):
    world.write_metrics(tmp_path)
    columns = pq.read_schema(tmp_path / "metrics" / f"{name}.parquet").names
    assert set(columns) <= set(SCHEMAS[name].names), "the fixture speaks another language than evaluate"


def test_examples_of_retrieve(tmp_path):
    world.write_connection(tmp_path, world.MAIN)
    columns = pq.read_schema(next((tmp_path / "pairs" / world.MAIN).rglob("_examples.parquet"))).names
    assert set(columns) == {field.name for field in fields(Neighbour)}


def test_every_baseline_and_control_has_a_name():
    assert set(BASELINES) <= set(UNTRAINED)
    settings = [implementation(method.retrieve_settings, "pipeline.retrieve") for method in methods().values()]
    controls = {name for each in settings for name in each.model_fields["control"].annotation.__args__} - {"none"}
    assert controls == set(CONTROLS)


@pytest.mark.parametrize("method", methods().values(), ids=lambda method: method.name)
def test_every_trained_method_has_words_of_its_own(method):
    assert called(method.name) == (method.label, BOUND if method.is_bound else CONNECTION)
    assert called(f"{method.name}_hubs") == (f"{method.label}, hubs corrected", HUBS)
    assert called(f"{method.name}_towers") == (f"{method.label}, all towers", TOWERS)
    assert {group for _, group in (called(method.name), called(f"{method.name}_hubs"))} <= set(GROUPS)
    assert method.pairs in COUNTED
    # Only what has neighbours has examples to explain: true pairs have none, nor do texts that are carried as they are.
    assert method.pairs in PAIRS or method.pairs in ("true", "none", "texts")


def test_a_baseline_that_is_a_method_too_is_one_or_the_other_by_its_connection(tmp_path):
    """The training-free bridge is a row beside trained connections, and a connection of its own."""
    assert set(UNTRAINED) & set(methods()) == {"bridge"}
    link = make_link("mine", sets=("texts", "means"))
    metric = {"task": "t", "dataset": "d", "direction": "mean", "metric": "R@10", "value": 0.5}
    files = {name: ConnectionFiles(tmp_path, name, [link]) for name in METHODS}
    for name, method in METHODS.items():
        vars(files[name])["config"] = {"method": method}
    rows = [{**metric, "connection": name, "method": "bridge"} for name in METHODS]
    [table] = build_tables(rows, files)
    assert {row.connection: row.group for row in table.rows} == {"mine": CONNECTION, "other": BASELINE}
    assert {row.connection: row.family for row in table.rows}["other"] == "bridge"
