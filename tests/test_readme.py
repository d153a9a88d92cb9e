"""What README.md shows works as it stands there."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from pipeline.connect import ConnectedSpace
from pipeline.spaces import SpaceSpec, load_space
from stages.cli import app
from tests.makers.readme import code
from tests.stages.tools.tools_project import make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def test_files_through_a_space_in_five_lines(project: Path) -> None:
    (project / "dog.png").write_bytes((project / "data/raw/photos/p004.png").read_bytes())
    (project / "caption.txt").write_text("a photo number 3")
    found: dict[str, object] = {}
    exec(code("In Python", "load_space("), found)
    space = load_space(SpaceSpec("compact", "data/spaces/clip"))
    expected = [
        space.encode(modality, space.preprocess(modality, Path(name).read_bytes())[None])
        for modality, name in (("image", "dog.png"), ("text", "caption.txt"))
    ]
    torch.testing.assert_close(found["vectors"], torch.cat(expected))


def test_a_connected_space_in_three_lines(small_project: Path) -> None:
    shutil.copy("data/raw/photos/p01.png", "dog.png")
    shutil.copy("data/raw/sounds/s01.flac", "bark.flac")
    found: dict[str, Any] = {}
    exec(code("In Python", "ConnectedSpace.load"), found)
    space = ConnectedSpace.load("data/models/audio_image")
    sound = space.embed("audio", [Path("bark.flac").read_bytes()])
    torch.testing.assert_close(found["vectors"][1:2], sound)


def test_stores_and_metrics_in_pandas(project: Path) -> None:
    for command in (["shard", "photos"], ["encode", "clip-photos"], ["evaluate"]):
        assert CliRunner().invoke(app, command).exit_code == 0
    found: dict[str, object] = {}
    exec(code("In pandas"), found)
    assert np.shape(found["vectors"]) == (25, 12)
    np.testing.assert_allclose(np.linalg.norm(found["vectors"], axis=1), 1, atol=1e-5)  # type: ignore[arg-type]
    assert {"metric", "value"} <= set(found["metrics"].columns)  # type: ignore[attr-defined]


# An encoder as somebody might add it. `BREAKS` are what goes wrong in it below.
ENCODER = (Path(__file__).parent / "plugin/letters/space.py").read_text()
BREAKS = {
    "": ("", ""),
    "unit_vectors": ("unit_rows(batch.to(self.weights) @ self.weights)", "(batch.to(self.weights) @ self.weights).float()"),
    "whatever_was_drawn": ("return counts", "return counts + torch.rand(256)"),
    "order_or_on_the_batch": ("unit_rows(batch.to", "unit_rows((batch - batch.mean(0) / 2).to"),
    "other_files": ("return counts", "return torch.ones(256)"),
    "sample_error": ("decode_text(payload).encode()", "payload"),
    "fingerprint": ('"sha256": self.sha256, ', ""),
    "half_precision": (', "precision": self.precision}', "}"),
    "wrong_settings": ("spec.sha256)", '"")'),
}  # fmt: skip


class Outcomes:
    """Names of the tests that passed and failed."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            (self.failed if report.failed else self.passed).append(report.nodeid.rpartition("::")[2])


@pytest.mark.parametrize("broken", BREAKS)
def test_the_conformance_suite_is_green_for_a_good_family_and_red_for_a_broken_one(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = BREAKS[broken]
    assert good in ENCODER
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/my_encoder.py").write_text(ENCODER.replace(good, bad))
    (tmp_path / "plugins/entry_points.txt").write_text(code("Your own encoder", "mcr_connect.encoders"))
    (tmp_path / "test_mine.py").write_text(code("Your own encoder", "SpaceConformance"))
    (tmp_path / "data/spaces/mine").mkdir(parents=True)
    letters = torch.randn(256, 12, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"letters": letters}, tmp_path / "data/spaces/mine/w.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_encoder", "test_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    outcomes = Outcomes()
    pytest.main([f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "-q", "test_mine.py"], plugins=[outcomes])
    assert len(outcomes.passed) + len(outcomes.failed) == 15
    assert bool(outcomes.failed) == bool(broken)
    if broken:
        assert any(broken in name for name in outcomes.failed), outcomes.failed
