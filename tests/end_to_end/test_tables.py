"""Each table of the papers, from its sets in the published layouts to the page with the published numbers beside ours.

The commands are those of docs/tables.md, in their order, and no YAML is written by hand but for what makes the weights small. The layouts and where they were looked up are in
tests/makers/miniatures.
"""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.tools.init import PRESETS
from tests.makers import tables
from tests.makers.documented import HUB, commands, follow
from tests.makers.walk import mcr
from tests.report.test_page import Page

TABLES = sorted(path.stem for path in PRESETS.glob("tables/*.yaml"))
# Its way is the shortest that has everything: published and trained connections, crops, labels, several sets.
QUICK = "cmcr-counterfactual"


@pytest.fixture(autouse=True)
def parameters_only(monkeypatch) -> None:
    """`mcr init` writes params.yaml, and no DVC project: DVC's log does not outlive the output of one command in a process."""
    monkeypatch.setattr("stages.tools.init.make_project", lambda demo: False)


def recipe_of(table: str) -> dict:
    return yaml.safe_load((PRESETS / "tables" / f"{table}.yaml").read_text())


def sets_of(params: dict) -> list[str]:
    """Names of the sets that are prepared, from where their manifests are."""
    places = {Path(corpus["source"]).parts[2] for corpus in params["corpora"].values()}
    return sorted(places - {*HUB, *tables.TRAINING})


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tables.weights(folder / "spaces", {"clip", "clap"})
    tables.projectors(folder / "published")
    return folder


@pytest.mark.parametrize(
    "table", [pytest.param(each, marks=[] if each == QUICK else pytest.mark.slow) for each in TABLES]
)
def test_from_the_published_files_to_the_page(tmp_path, monkeypatch, weights, table):
    monkeypatch.chdir(tmp_path)
    follow(table, weights)
    params = yaml.safe_load(Path("params.yaml").read_text())
    tables.small(params)
    Path("params.yaml").write_text(yaml.safe_dump(params))

    mcr("check")
    mcr("shard", *params["corpora"])
    for space in params["spaces"]:
        mcr("encode", "--space", space)
    for connection in params["connections"]:
        mcr("retrieve", connection)
        mcr("train", connection)
    mcr("evaluate")
    mcr("report")

    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    assert {*metrics.task} == {*params["evaluate"]["tasks"]}
    text = " ".join(Page(Path("data/reports/index.html").read_text()).text.split())
    numbers = [number for task in params["evaluate"]["tasks"].values() for number in task["expected"]]
    assert numbers and "not measured here" not in text
    assert [name for name in sets_of(recipe_of(table)) if not Path("data/raw", name, "set.json").exists()] == []
    for number in numbers:
        expected = f"expected {number['value']:.1f}" if "value" in number else "expected unknown"
        assert f"{expected}, measured " in text and number["source"] in text
    assert text.count("expected unknown, measured") == sum("value" not in number for number in numbers)


@pytest.mark.parametrize("table", TABLES)
def test_a_recipe_reads_what_prepare_writes(tmp_path, monkeypatch, table):
    recipe = recipe_of(table)
    monkeypatch.chdir(tmp_path)
    for name in sets_of(recipe):
        source = tables.write(Path("data/downloads"), name)
        found = yaml.safe_load(mcr("prepare", name, str(source)))
        wanted = {key: entry for key, entry in recipe["corpora"].items() if key.startswith(f"{name}-")}
        wanted.pop(f"{name}-crops", None)  # which `mcr crop` writes
        assert wanted and wanted.items() <= found["corpora"].items()
        for label, task in found["evaluate"]["tasks"].items():
            if label in recipe["evaluate"]["tasks"]:
                assert task.items() <= recipe["evaluate"]["tasks"][label].items()
    tasks = recipe["evaluate"]["tasks"]
    assert all(task["expected"] for task in tasks.values())
    for label, task in tasks.items():
        measured = {*task.get("connections", ()), f"frozen_{task.get('space')}"}
        assert {number["of"] for number in task["expected"]} <= measured, label
        assert all(number["source"].startswith("unknown: ") == ("value" not in number) for number in task["expected"])


@pytest.mark.parametrize("table", TABLES)
def test_init_says_how_each_set_is_made(tmp_path, monkeypatch, table):
    """It named data/raw/ave/audio.jsonl, which nobody has: the command that writes it stood on the page only."""
    monkeypatch.chdir(tmp_path)
    said = mcr("init", f"tables/{table}").partition("Next:")[2]
    for step in commands(table):
        if step[1] == "prepare":
            assert f"  {' '.join(step)}\n" in said
        if step[1] == "crop":
            assert f"  mcr crop {step[2]} BOXES.csv {step[4]}\n" in said
    assert ("mcr text-pool data/downloads" in said) == ("texts" in recipe_of(table)["corpora"])
    made = [line.split()[2] for line in said.splitlines() if line.startswith("  mcr prepare ")]
    assert sorted(made) == sets_of(recipe_of(table))


@pytest.mark.parametrize("table", TABLES)
def test_any_set_and_any_way_can_be_left_out(tmp_path, monkeypatch, table):
    recipe = recipe_of(table)
    monkeypatch.chdir(tmp_path)
    trained = [name for name in recipe["connections"] if name.endswith("_trained")]
    for name in [*sets_of(recipe)[:-1], *([",".join(trained)] if trained else [])]:
        mcr("init", f"tables/{table}", "--without", name, "--force")
        params = yaml.safe_load(Path("params.yaml").read_text())
        assert not [corpus for corpus in params["corpora"] if corpus.startswith(f"{name}-")]
        assert params["evaluate"]["tasks"] and mcr("check")
        text = Path("params.yaml").read_text()
        assert "# [C]" in text and not [each for each in name.split(",") if each in params["connections"]]
    if trained:  # the last of them: only published projectors are left, which need no unpaired data
        assert not set(tables.TRAINING) & set(params["corpora"])
        assert "baselines" not in text and "_trained" not in text
