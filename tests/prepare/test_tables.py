"""The presets of tables name exactly what `mcr prepare` writes from the published layouts."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stages.cli import app
from stages.tools.init import PRESETS
from tests.prepare.miniatures import write


@pytest.mark.parametrize("name", ["coco", "flickr30k", "audiocaps", "esc50"])
def test_the_table_of_frozen_spaces_reads_what_prepare_writes(tmp_path, monkeypatch, name):
    preset = yaml.safe_load((PRESETS / "tables" / "frozen.yaml").read_text())
    write(tmp_path / "data" / "downloads", name)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["prepare", name, f"data/downloads/{name}"], catch_exceptions=False)
    found = yaml.safe_load(done.output)
    assert found["corpora"] == {key: entry for key, entry in preset["corpora"].items() if key.startswith(f"{name}-")}
    assert all(Path(entry["source"]).is_file() for entry in found["corpora"].values())
    task = preset["evaluate"]["tasks"][name]
    assert found["evaluate"]["tasks"][name].items() <= task.items()
    assert {number["of"] for number in task["expected"]} == {f"frozen_{task['space']}"}
    jobs = {job["corpus"] for job in preset["encode"].values() if job["space"] == task["space"]}
    assert set(found["corpora"]) <= jobs
