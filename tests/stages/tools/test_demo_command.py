"""`mcr demo`: nobody's weights are overwritten."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.errors import UserError
from stages.cli import app

ROOT = Path(__file__).parents[3]


def test_a_folder_with_other_weights_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("data/spaces/clip/open_clip_pytorch_model.bin")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    result = CliRunner().invoke(app, ["demo", "pretrain", "clip", "--params", str(ROOT / "data/demo/params.yaml")])
    assert isinstance(result.exception, UserError) and own.name in result.exception.message
    assert own.read_bytes() == b"mine" and len(list(own.parent.iterdir())) == 1
