"""A run with nothing to do reads no part that nobody touched; what is damaged without a trace is found where it is read."""

import json
import os
from pathlib import Path

import pytest

from pipeline.errors import CorruptError
from pipeline.progress import Silent
from pipeline.store import Made, PartFolder, Source, Work, run_parts
from pipeline.store.integrity import unchanged
from pipeline.store.integrity.check import check_file
from pipeline.store.manifest import load_manifest
from pipeline.store.parts import ledger

NAMES = [f"{number:05d}.tar" for number in range(5)]


def build(folder: Path) -> int:
    def make(path: Path, progress: object) -> Made:
        path.write_bytes(path.name[:5].encode() * 100)
        return Made(["k"])

    with PartFolder(folder, "shards", {"code": 1}) as parts:
        run_parts(parts, [Work(name, Source("s"), make) for name in NAMES], "test", "samples", Silent())
        parts.finish(0.0)
        return parts.computed


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the parts whose hash a driver took."""
    taken: list[str] = []
    real = ledger.sha256_file

    def counted(path: Path) -> str:
        taken.append(path.name)
        return real(path)

    monkeypatch.setattr(ledger, "sha256_file", counted)
    return taken


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / ".dvc").mkdir()
    folder = tmp_path / "data/shards/photos"
    assert build(folder) == 5
    # As a run does that takes longer than the clock of the file system ticks.
    record = tmp_path / ".dvc/tmp/mcr/data/shards/photos/parts.json"
    os.utime(record, ns=(0, max(path.stat().st_mtime_ns for path in folder.iterdir()) + 1))
    return folder


def parts_of(names: list[str]) -> list[str]:
    return [name for name in names if name in NAMES]


def test_a_run_with_nothing_to_do_takes_no_hash_of_a_part(folder, hashed):
    assert build(folder) == 0 and not parts_of(hashed)
    assert {path.name for path in folder.iterdir()} == {*NAMES, "_failures.parquet", "_manifest.json"}, (
        "nothing of it here"
    )


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


def rename_a_copy(path: Path) -> None:
    damage_later = path.with_name("copy")
    damage_later.write_bytes(path.read_bytes())
    damage(damage_later)
    os.utime(damage_later, ns=(0, path.stat().st_mtime_ns))
    damage_later.rename(path)


def put_the_time_back(path: Path) -> None:
    before = path.stat().st_mtime_ns
    damage(path)
    os.utime(path, ns=(0, before))


@pytest.mark.parametrize(
    "touch", [damage, rename_a_copy, put_the_time_back, Path.unlink, lambda path: path.write_bytes(b"short")]
)
def test_whoever_touches_a_part_is_noticed(folder, hashed, touch):
    before = (folder / NAMES[2]).read_bytes()
    touch(folder / NAMES[2])
    assert build(folder) == 1
    assert (folder / NAMES[2]).read_bytes() == before and parts_of(hashed) in ([NAMES[2]], [])


def test_a_touched_part_of_the_same_bytes_is_hashed_once(folder, hashed):
    os.utime(folder / NAMES[1], ns=(5, 5))
    assert build(folder) == 0 and parts_of(hashed) == [NAMES[1]]
    assert build(folder) == 0 and parts_of(hashed) == [NAMES[1]]


def test_damage_that_leaves_no_trace_is_found_by_readers_and_then_made_again(folder, monkeypatch):
    part = load_manifest(folder).parts[3]
    look = unchanged.look_of(folder / part.name)
    damage(folder / part.name)
    monkeypatch.setattr(ledger, "look_of", lambda path: look if path.name == part.name else unchanged.look_of(path))
    real = unchanged.look_of
    monkeypatch.setattr(unchanged, "look_of", lambda path: look if path.name == part.name else real(path))
    assert build(folder) == 0, "which is what the record is trusted with"
    with pytest.raises(CorruptError, match="is damaged"):
        check_file(folder / part.name, part.sha256, "again")
    monkeypatch.undo()
    assert build(folder) == 1


def test_what_changed_while_the_record_was_written_is_hashed(folder, hashed):
    record = folder.parents[2] / ".dvc/tmp/mcr/data/shards/photos/parts.json"
    os.utime(record, ns=(0, (folder / NAMES[4]).stat().st_mtime_ns))
    assert build(folder) == 0 and NAMES[4] in hashed


@pytest.mark.parametrize("content", ["", "[1]", '{"00000.tar": 1}', '{"00000.tar": ["x", [1]]}', "\0\0"])
def test_a_record_that_says_nothing_costs_only_time(folder, hashed, content):
    (folder.parents[2] / ".dvc/tmp/mcr/data/shards/photos/parts.json").write_text(content)
    assert build(folder) == 0 and set(parts_of(hashed)) == set(NAMES)


def test_a_record_that_lies_about_the_hash_is_not_believed(folder, hashed):
    record = folder.parents[2] / ".dvc/tmp/mcr/data/shards/photos/parts.json"
    content = json.loads(record.read_text())
    content[NAMES[0]][0] = "0" * 64
    record.write_text(json.dumps(content))
    assert build(folder) == 0 and parts_of(hashed) == [NAMES[0]]


def test_outside_of_a_project_every_hash_is_taken(tmp_path, hashed):
    build(tmp_path / "out")
    assert build(tmp_path / "out") == 0 and set(parts_of(hashed)) == set(NAMES)


@pytest.mark.parametrize("way", ["a file in place of its folder", "a folder in its place"])
def test_a_record_that_cannot_be_written_costs_only_time(folder, hashed, way):
    record = folder.parents[2] / ".dvc/tmp/mcr/data/shards/photos/parts.json"
    record.unlink()
    if way == "a folder in its place":
        record.mkdir()
    else:
        record.parent.rmdir()
        record.parent.write_text("theirs")
    for _ in range(2):
        hashed.clear()
        assert build(folder) == 0 and set(parts_of(hashed)) == set(NAMES)
    assert not record.is_file() and not list(record.parent.parent.rglob("*.tmp"))
