"""The state of a training that was begun: when it is used, and what is removed with it."""

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest

from tests.train.test_run import SETTINGS, KillAt, Killed, MakePairs, content, train


def test_a_checkpoint_that_cannot_be_removed_is_an_error_and_the_next_run_removes_it(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be among the outputs, which are promised to be the same from run to run."""
    pairs, output, real = make_pairs(), tmp_path / "model", os.unlink
    train(pairs, tmp_path / "whole")

    def refuse(path: Path, *arguments: object, **named: object) -> None:
        if Path(path).name == "epoch-00003.safetensors":
            raise OSError(errno.EIO, "Input/output error", str(path))
        real(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(OSError, match="epoch-00003"):
            train(pairs, output)
    assert train(pairs, output).computed == 0
    assert content(output) == content(tmp_path / "whole")


def test_a_checkpoint_folder_with_a_file_of_the_users_stays(
    make_pairs: MakePairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs, folder = make_pairs(), tmp_path / "model" / "clip-clap" / "checkpoint"
    with pytest.raises(Killed):
        train(pairs, tmp_path / "model", progress=KillAt(5))
    for name in ("notes.txt", "epoch-00001.safetensors.copy", "epoch-best.safetensors"):
        (folder / name).write_text("mine")
    for name in ("epoch-00009.safetensors.0123abcd.tmp", ".tmpdICCge"):
        (folder / name).write_text("half-written")
    train(pairs, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-00001.safetensors.copy",
        "epoch-best.safetensors",
        "notes.txt",
    ]
    assert "left alone: epoch-00001.safetensors.copy, epoch-best" in caplog.text


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(
    make_pairs: MakePairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pairs, output = make_pairs(), tmp_path / "model"
    with pytest.raises(Killed):
        train(pairs, output, progress=KillAt(5))
    assert train(pairs, output, SETTINGS.model_copy(update={"intra_weight": 0.2})).computed == 4
    assert "train.intra_weight: 0.1 -> 0.2" in caplog.text
    shutil.rmtree(output)
    with pytest.raises(Killed):
        train(pairs, output, progress=KillAt(5))
    (state,) = (output / "clip-clap" / "checkpoint").glob("*.safetensors")
    damaged = bytearray(state.read_bytes())
    damaged[-5] ^= 1
    state.write_bytes(damaged)
    assert train(pairs, output).computed == 4
    assert "is damaged" in caplog.text
