"""Checkpoints of other people are found, hashed, read without running code, and loaded strictly or not at all."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import UserError
from pipeline.hashing import sha256_bytes
from pipeline.spaces.weights.checkpoints import Checkpoint, find_checkpoint, load_strictly, read_tensors

WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -1.0])}


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def public_file(path: Path) -> Path:
    """A training checkpoint as the authors of CLAP and ULIP publish them: weights, arguments, optimizer."""
    content = {
        "epoch": 3,
        "name": "run",
        "args": argparse.Namespace(lr=1e-3, model="x"),
        "state_dict": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        "optimizer": {"param_groups": [{"lr": np.float64(0.1), "betas": (0.9, 0.98)}]},
    }
    torch.save(content, path)
    return path


def test_hash_is_recorded_always_and_checked_when_given(tmp_path: Path) -> None:
    path = public_file(tmp_path / "a.pt")
    expected = sha256_bytes(path.read_bytes())
    assert find_checkpoint(str(path)) == Checkpoint(path, expected)
    assert find_checkpoint(str(path), expected.upper()).sha256 == expected
    with pytest.raises(UserError, match=f"has sha256 {expected}, but the space asks for {'0' * 64}"):
        find_checkpoint(str(path), "0" * 64)


def test_folder_holds_exactly_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        find_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    save_file(WEIGHTS, tmp_path / "b.safetensors")
    assert find_checkpoint(str(tmp_path)).path == tmp_path / "b.safetensors"
    public_file(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"2 checkpoints in .*: a\.pt, b\.safetensors\."):
        find_checkpoint(str(tmp_path))


@pytest.mark.parametrize("location", ["", "nowhere/clap.pt"])
def test_missing_file(location: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_checkpoint(location)


def test_other_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"ends in \.npz"):
        find_checkpoint(str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("legacy", [False, True])
def test_both_kinds_give_the_same_tensors(tmp_path: Path, legacy: bool) -> None:
    save_file(WEIGHTS, tmp_path / "b.safetensors")
    bare = tmp_path / "bare.pth"
    torch.save(WEIGHTS, bare, _use_new_zipfile_serialization=not legacy)
    for path in (public_file(tmp_path / "a.pt"), bare, tmp_path / "b.safetensors"):
        tensors = read_tensors(find_checkpoint(str(path)))
        assert tensors.keys() == WEIGHTS.keys()
        assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


def test_nothing_in_a_checkpoint_runs(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": Trap(tmp_path / "ran")}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match=r"holds more than weights \(\w+\.mkdir\)") as caught:
        read_tensors(find_checkpoint(str(tmp_path / "trap.pt")))
    assert "safetensors" in caught.value.hint
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["text", "empty", "cut"])
def test_not_a_checkpoint(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pt":
        public_file(path)
    else:
        save_file(WEIGHTS, path)
    whole = path.read_bytes()
    path.write_bytes({"text": b"<html>not found</html>", "empty": b"", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UserError, match="is not a checkpoint" + (" but an HTML page" if damage == "text" else "")):
        read_tensors(find_checkpoint(str(path)))


def test_no_tensors_and_a_newer_pickle(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "none.pt")
    with pytest.raises(UserError, match="holds no dictionary of tensors"):
        read_tensors(find_checkpoint(str(tmp_path / "none.pt")))
    torch.save(WEIGHTS, tmp_path / "new.pt", pickle_protocol=4)
    with pytest.warns(UserWarning, match="protocol 4"), pytest.raises(UserError, match="cannot be read safely"):
        read_tensors(find_checkpoint(str(tmp_path / "new.pt")))


def test_strict_loading() -> None:
    module = nn.Linear(3, 2)
    load_strictly(module, WEIGHTS, Path("a.pt"), "Linear")
    assert torch.equal(module.weight, WEIGHTS["weight"])
    wrong = {"weight": torch.zeros(4, 5), **{f"more.{number}": torch.zeros(1) for number in range(7)}}
    before = module.weight.clone()
    with pytest.raises(UserError) as caught:
        load_strictly(module, wrong, Path("a.pt"), "Linear")
    assert caught.value.message == (
        "a.pt is not a checkpoint of Linear: 1 missing (bias); 7 unexpected (more.0, more.1, more.2, more.3, "
        "more.4 and 2 more); 1 of another shape (weight [4, 5] for [2, 3])."
    )
    assert torch.equal(module.weight, before)
