"""Descriptions of raw data and weights: equal if and only if names and bytes are, and a file is read once."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.inputs import contents as module
from pipeline.inputs.contents import contents
from pipeline.inputs.weights import files_of
from pipeline.progress import Silent
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.listing import listed_files
from tests.conftest import png


@dataclass(frozen=True)
class Remote:
    name: str
    size: int
    changed: str


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read."""
    seen: list[str] = []
    original = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: (seen.append(path.name), original(path))[1])
    return seen


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures that were there before today."""
    place = tmp_path / "raw"
    place.mkdir()
    for number in range(12):
        (place / f"{number:02}.png").write_bytes(png(number))
        os.utime(place / f"{number:02}.png", (1e9, 1e9))
    return place


def describe(folder: Path) -> dict[str, object]:
    files = listed_files(CorpusSettings(source=str(folder), modalities=("image",)))
    return contents(files, folder.parent / "memory.jsonl", Silent(), 2)


def test_a_second_look_reads_nothing(folder, reads):
    first = describe(folder)
    assert len(reads) == 12 and first["files"] == 12 and first["endings"] == {".png": 12}
    assert first["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert describe(folder) == first and len(reads) == 12


@pytest.mark.parametrize("kind", ["bytes", "name", "new", "gone", "swapped"])
def test_whatever_changes_names_or_bytes_changes_the_description(folder, kind):
    first = describe(folder)
    if kind == "bytes":
        (folder / "03.png").write_bytes(png(99))
    elif kind == "name":
        (folder / "03.png").rename(folder / "3.png")
    elif kind == "new":
        (folder / "x.txt").write_text("x")
    elif kind == "gone":
        (folder / "03.png").unlink()
    else:
        (folder / "03.png").rename(folder / "x")
        (folder / "04.png").rename(folder / "03.png")
        (folder / "x").rename(folder / "04.png")
        os.utime(folder / "03.png", (1e9 + 1, 1e9 + 1))
        os.utime(folder / "04.png", (1e9 + 1, 1e9 + 1))
    assert describe(folder) != first


def test_a_new_time_alone_changes_nothing_and_reads_one_file(folder, reads):
    first = describe(folder)
    os.utime(folder / "05.png", (2e9 / 2 + 5, 2e9 / 2 + 5))
    assert describe(folder) == first and reads[12:] == ["05.png"]


def test_a_file_that_has_just_changed_is_read_again(folder, reads):
    """Within the resolution of a clock it can change once more under the same size and time."""
    path = folder / "07.png"
    path.write_bytes(png(70))
    first = describe(folder)
    before = path.stat()
    path.write_bytes(png(71))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and time.time_ns() - before.st_mtime_ns < 2e9
    assert describe(folder) != first and reads.count("07.png") == 2


@pytest.mark.parametrize("damage", ["", "not json\n", '["a"]\n', "\0\0", "[1, 2, 3, 4]\n"])
def test_a_damaged_memory_is_no_memory(folder, reads, damage):
    first = describe(folder)
    (folder.parent / "memory.jsonl").write_text(damage)
    assert describe(folder) == first and len(reads) == 24


def test_what_cannot_be_read_is_described_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to(folder / "nothing")
    first = describe(folder)
    assert (first["files"], first["absent"]) == (13, 1)
    (folder / "nothing").write_bytes(png(5))
    assert describe(folder)["absent"] == 0


def test_files_behind_addresses_are_compared_by_what_their_protocol_says(tmp_path):
    def look(changed: str) -> object:
        return contents([Remote("s3://bucket/a.tar", 10, changed)], tmp_path / "m", Silent(), 1)["sha256"]

    assert look("etag-1") == look("etag-1") != look("etag-2")


def test_a_family_is_asked_once_for_its_files(tmp_path):
    place, code = tmp_path / "clip", tmp_path / "code"
    for folder in (place, code):
        folder.mkdir()
    (place / "w.safetensors").write_bytes(b"weights")
    other = tmp_path / "tokenizer.json"
    other.write_text("{}")
    asked = []

    def look(**spec: object) -> list[str]:
        def ask() -> list[Path]:
            asked.append(1)
            return [place / "w.safetensors", other]

        return [file.name for file in files_of({"encoder": "x"} | spec, place, code, tmp_path / "memory.json", ask)]

    expected = [str(place / "w.safetensors"), str(other)]
    assert look() == look() == expected and len(asked) == 1
    assert look(model="other") and len(asked) == 2
    (place / "config.json").write_text("{}")
    assert look(model="other") and len(asked) == 3, "another file may mean another choice"
    (code / "family.py").write_text("")
    assert look(model="other") and len(asked) == 4, "other code may mean other files"
    (tmp_path / "memory.json").write_text("[")
    assert look(model="other") and len(asked) == 5
    assert files_of({}, place, code, tmp_path / "hub.json", list) == [], "a name that only a hub knows"
