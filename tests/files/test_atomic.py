"""Files appear whole or not at all, with the mode that the umask gives, also where a file system cannot sync."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import TryAgainError
from pipeline.files import atomic
from pipeline.files.atomic import LEFTOVER, atomic_path, remove_leftovers, write_bytes, write_text


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o000])
def test_modes_follow_the_umask_whoever_writes(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.json", "{}")
        with atomic_path(tmp_path / "b.safetensors") as temporary:
            save_file({"w": torch.zeros(2)}, temporary)  # makes a file of its own, readable by its owner alone
        with atomic_path(tmp_path / "c.bin") as temporary:
            descriptor = os.open(temporary, os.O_WRONLY)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def half_written() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_written()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", b"old")]


def test_a_hard_link_to_the_old_file_keeps_its_content(tmp_path):
    """As in DVC's cache."""
    write_bytes(tmp_path / "a", b"old")
    os.link(tmp_path / "a", tmp_path / "cached")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "cached").read_bytes() == b"old"


def test_two_writers_of_one_name_do_not_share_a_file(tmp_path):
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert (tmp_path / "a").read_bytes() in (b"1", b"2")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_is_used_all_the_same(tmp_path, monkeypatch, code):
    def fsync(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"


def test_a_failing_disk_is_an_error(tmp_path, monkeypatch):
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(TryAgainError, match="input/output error"):
        write_bytes(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_only_our_own_leftovers_are_removed(tmp_path):
    ours = [tmp_path / "a.json.0123abcd.tmp", tmp_path / "below" / "b.00000000.tmp"]
    others = [tmp_path / name for name in ("a.tmp", "a.json.tmp", "x.0123ABCD.tmp", "0123abcd.tmp", "x.0123abcd")]
    (tmp_path / "below").mkdir()
    for path in (*ours, *others):
        Path(path).write_text("half")
    remove_leftovers(tmp_path)
    assert not [path for path in ours if path.exists()] and all(path.exists() for path in others)


def test_the_name_of_the_file_that_safetensors_writes_to_is_known(tmp_path: Path) -> None:
    """A killed writer leaves it, and whoever writes there next removes it."""
    script = "import sys, torch; from safetensors.torch import save_file\n"
    script += "while True: save_file({'rows': torch.zeros(1 << 24)}, sys.argv[1])"
    writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "final")])
    try:
        until = time.monotonic() + 60
        while not (seen := {path.name for path in tmp_path.iterdir()} - {"final"}) and time.monotonic() < until:
            time.sleep(0.001)
    finally:
        writer.kill()
        writer.wait()
    assert seen and all(LEFTOVER.fullmatch(name) for name in seen)
