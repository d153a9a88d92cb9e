"""Variants of a connection, and what a table says of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.errors import UserError
from pipeline.sweep.page import sweep_page
from pipeline.sweep.summary import summarise, with_differences
from pipeline.sweep.variants import UNCHANGED, merged, read_sweep, variants

VALUES = {
    UNCHANGED: [0.50, 0.60, 0.70],
    "worse": [0.40, 0.55, 0.69],
    "better": [0.51, 0.61, 0.90],
    "mixed <b>": [0.60, 0.50, 0.70],
}


@pytest.fixture
def values() -> pd.DataFrame:
    rows = [
        {"connection": "c", "row": row, "task": "t", "metric": "R@10", "seed": seed, "value": value}
        for row, found in VALUES.items()
        for seed, value in enumerate(found)
    ]
    # The order of the rows must not matter for the differences.
    return with_differences(pd.DataFrame(rows).sample(frac=1, random_state=0).sort_values("row", kind="stable"))


def test_differences_are_paired_by_seed_and_a_verdict_needs_all_seeds(values: pd.DataFrame) -> None:
    summary = summarise(values).set_index("row")
    for row, found in VALUES.items():
        differences = np.array(found) - np.array(VALUES[UNCHANGED])
        assert summary["mean"][row] == pytest.approx(np.mean(found))
        assert summary.deviation[row] == pytest.approx(np.std(found, ddof=1))
        assert summary.difference[row] == pytest.approx(differences.mean())
        assert summary.difference_deviation[row] == pytest.approx(np.std(differences, ddof=1))
    assert summary.verdict["worse"] == "worse" and summary.verdict["better"] == "better"
    assert summary.verdict["mixed <b>"].startswith("no difference") and summary.verdict[UNCHANGED] == ""


def test_one_seed_allows_no_verdict(values: pd.DataFrame) -> None:
    summary = summarise(values[values.seed == 0]).set_index("row")
    assert summary.verdict["worse"] == "one seed: not known"
    assert "nan" not in sweep_page("x", values[values.seed == 0], summary.reset_index())


def test_the_page_shows_every_row_and_seed(values: pd.DataFrame) -> None:
    page = sweep_page("title", values, summarise(values))
    assert page.count("<circle") == 12 and page.count("<tr>") == 5
    assert "mixed &lt;b&gt;" in page and "<b>" not in page
    assert "54.7 ± 14.5" in page and "-5.3 ± 4.5" in page


def test_changes_go_group_by_group_and_the_connection_stays() -> None:
    settings = {"train": {"epochs": 3, "projector": {"kind": "mlp", "hidden": 8}}, "method": "cmcr"}
    before = yaml.safe_dump(settings)
    made = variants(settings, {"wide": {"train": {"projector": {"hidden": 16}}}})
    assert made == {
        UNCHANGED: settings,
        "wide": {"train": {"epochs": 3, "projector": {"kind": "mlp", "hidden": 16}}, "method": "cmcr"},
    }
    made[UNCHANGED]["train"]["projector"]["hidden"] = 1
    merged(settings, {"train": {"epochs": 9}})
    assert yaml.safe_dump(settings) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seeds: [0]\nconnections: {c: {task: t, rows: {r: {retrieve: {temperature: 0.1}}}}}", "retrieve.temperature"),
        ("seeds: [0]\nconnections: {c: {task: t, rows: {r: {join: {}}}}}", "changes join"),
        (f"seeds: [0]\nconnections: {{c: {{task: t, rows: {{{UNCHANGED}: {{}}}}}}}}", "changes nothing"),
        ("seeds: []\nconnections: {c: {task: t, rows: {r: {}}}}", "seeds"),
        ("seeds: [0]\nconnections: {c: {rows: {r: {}}}}", "connections.c.task"),
        ("seeds: [0", "not valid YAML"),
        (None, "does not exist"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / "sweep.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_sweep(tmp_path / "sweep.yaml")
