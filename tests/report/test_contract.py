"""What the report reads is what the stages before it write: the stages meet in files, and here their words are compared."""

from dataclasses import fields

import pyarrow.parquet as pq
import pytest

from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.tables import SCHEMAS
from pipeline.report.table import CONTROLS, METHODS
from pipeline.retrieve.method import Example
from pipeline.retrieve.settings import RetrieveSettings
from tests.report import world


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_tables_of_evaluate(tmp_path, name):
    world.write_metrics(tmp_path)
    columns = pq.read_schema(tmp_path / "metrics" / f"{name}.parquet").names
    assert set(columns) <= set(SCHEMAS[name].names), "the fixture speaks another language than evaluate"


def test_examples_of_retrieve(tmp_path):
    world.write_connection(tmp_path, world.MAIN)
    columns = pq.read_schema(tmp_path / "pairs" / world.MAIN / "_examples.parquet").names
    assert set(columns) == {field.name for field in fields(Example)}


def test_every_baseline_and_control_has_a_name():
    assert set(BASELINES) <= set(METHODS)
    controls = set(RetrieveSettings.model_fields["control"].annotation.__args__) - {"none"}
    assert controls == set(CONTROLS)
