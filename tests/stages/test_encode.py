"""`mcr shard` and `mcr encode` on raw files: the accounting line says what became of them and where the time went."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import ImageSettings, TextSettings
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, write_rows
from stages.cli import app
from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[2]


def mcr(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_accounting_line_names_rate_split_and_bottleneck(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    folder = Path("data/demo/raw/photos")
    folder.mkdir(parents=True)
    for number in range(9):
        buffer = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    save_compact(Path("data/spaces/clip"), CompactModel(8, {"text": TextSettings(("a",)), "image": ImageSettings()}))
    assert mcr("shard", "photos") == (
        "shard photos: in 9 = 9 out + 0 rejected; 1 of 1 parts computed, the others were up to date\n"
    )
    shares = ", ".join(rf"{step} \d+ %" for step in ("read", "decode", "compute", "write"))
    assert re.fullmatch(
        r"encode clip-photos image: in 9 = 9 out \+ 0 rejected; 1 of 1 parts computed, the others were up to date; "
        rf"\d+\.\d s, [\d,.]+ samples/s \({shares}; bottleneck: (read|decode|compute|write)\)\n",
        mcr("encode", "clip-photos"),
    )
    assert mcr("encode", "clip-photos").endswith("0 of 1 parts computed, the others were up to date\n")


@pytest.fixture
def params(tmp_path, monkeypatch):
    """The small project as the working folder, its photos also as a second corpus; its parameters."""
    monkeypatch.chdir(make_project(tmp_path))
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["corpora"]["again"] = params["corpora"]["photos"]
    params["encode"]["clip-again"] = {"space": "clip", "corpus": "again"}
    params["spaces"]["clap"] = params["spaces"]["clip"]
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return params


def test_all_jobs_of_a_space_run_and_what_is_no_job_any_more_goes(params):
    mcr("shard", "photos", "again")
    said = [line.split(":")[0] for line in mcr("encode", "--space", "clip").splitlines()]
    assert said == [
        f"encode clip-{corpus} {modality}" for corpus in ("photos", "again") for modality in ("text", "image")
    ]
    del params["encode"]["clip-again"]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    made = {"encoder": {"family": "imported", "unverified": True}}  # As `mcr import embeddings` says.
    bought = PartFolder(Path("data/embeddings/clip/bought/image"), EMBEDDINGS, made)
    row = Rows(["one"], {EMBEDDING_COLUMN: np.eye(1, 12, dtype=np.float32)}, {})
    bought.commit("part-00000.parquet", "", row.keys, [], lambda path: write_rows(path, row, {}))
    bought.finish(0.0)
    mcr("encode", "--space", "clip")
    assert sorted(path.name for path in Path("data/embeddings/clip").iterdir()) == ["bought", "photos"]


@pytest.mark.parametrize(
    "arguments", [(), ("clip-photos", "--space", "clip"), ("--space", "clap"), ("--space", "clib")]
)
def test_jobs_that_cannot_be_meant_are_refused(params, arguments):
    result = CliRunner().invoke(app, ["encode", *arguments])
    assert isinstance(result.exception, UserError), result.output
