"""Bombs among checkpoints: refused by what their directory says, before anything is inflated."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.spaces.weights.checkpoints import find_checkpoint, read_tensors


def packed(path: Path, members: dict[str, bytes], how: int) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members_of(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


ZEROS = {"a": torch.zeros(28_000_000)}


@pytest.mark.parametrize(
    ("how", "suffix"), [(zipfile.ZIP_DEFLATED, ".pt"), (zipfile.ZIP_BZIP2, ".ckpt"), (zipfile.ZIP_LZMA, ".bin")]
)
def test_a_checkpoint_that_swells_is_refused(tmp_path, how, suffix, monkeypatch):
    path = packed(tmp_path / f"weights{suffix}", members_of(ZEROS), how)
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UserError, match=r"112\d+ when decompressed"):
        read_tensors(find_checkpoint(str(path)))


def test_members_that_lie_over_each_other_are_refused(tmp_path):
    path = packed(tmp_path / "weights.pt", {"a/data.pkl": bytes(1_000_000)}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    entry, end = content[start : content.index(b"PK\5\6")], bytearray(content[content.index(b"PK\5\6") :])
    end[8:16] = struct.pack("<HHI", 50, 50, 50 * len(entry))
    path.write_bytes(content[:start] + entry * 50 + bytes(end))
    with pytest.raises(UserError, match="when decompressed"):
        read_tensors(find_checkpoint(str(path)))


def test_weights_as_pytorch_writes_them_are_read_even_if_all_are_zero(tmp_path):
    torch.save(ZEROS, tmp_path / "weights.pt")
    assert read_tensors(find_checkpoint(str(tmp_path / "weights.pt")))["a"].shape == (28_000_000,)
