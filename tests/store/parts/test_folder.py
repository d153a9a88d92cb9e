"""A folder under construction: a kill costs the part in work, and nothing that is not ours is touched."""

import cProfile
import json
import logging
import os
import pstats
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.files.atomic import write_bytes
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.progress import Silent
from pipeline.store import Made, PartFolder, Source, Work, load_manifest, run_parts
from pipeline.store.manifest import MANIFEST_NAME, load_complete_manifest
from pipeline.store.parts.journal import JOURNAL_NAME, Journal, read_journal
from pipeline.store.parts.ledger import Ledger
from pipeline.store.parts.names import number_of, numbered
from pipeline.store.parts.work import write_part


class Killed(BaseException):
    """Ends a run in the middle."""


def written(content: bytes, made: list[str] | None = None):
    def make(path: Path, progress: object) -> Made:
        if made is not None:
            made.append(path.name[:9])
        path.write_bytes(content)
        return Made(["k"])

    return make


def works(*numbers: int, made: list[str] | None = None) -> list[Work]:
    return [Work(f"{numbered(n)}.tar", Source(f"s{n}"), written(str(n).encode(), made), 1) for n in numbers]


def build(folder: Path, todo: list[Work], fingerprint: dict[str, object] | None = None, tables=None) -> int:
    with PartFolder(folder, "shards", fingerprint or {"code": 1}) as parts:
        run_parts(parts, todo, "test", "samples", Silent())
        parts.finish(0.0, tables)
        return parts.computed


def killed_before_the_end(folder: Path, todo: list[Work], fingerprint: dict[str, object]) -> None:
    """All parts are adopted, the folder is not finished."""
    with PartFolder(folder, "shards", fingerprint) as parts:
        run_parts(parts, todo, "test", "samples", Silent())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_killed_before_every_file_operation_it_continues_to_the_same_bytes(tmp_path):
    script = Path(__file__).with_name("build_folder.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) > 50
    assert all(end["same"] for end in ends)
    for end in ends[:-1]:
        assert end["computed"] <= end["needed"] - end["committed"], "what was committed is not made again"


def test_parts_that_are_there_are_reused_and_parts_of_no_source_go(tmp_path):
    assert build(tmp_path, works(0, 1, 2)) == 3
    before = (tmp_path / MANIFEST_NAME).stat()
    assert build(tmp_path, works(0, 1, 2)) == 0
    assert (tmp_path / MANIFEST_NAME).stat().st_ino == before.st_ino, "nothing to write"
    assert build(tmp_path, works(0, 2)) == 0
    assert names(tmp_path) == ["00000.tar", "00002.tar", "_failures.parquet", MANIFEST_NAME]


@pytest.mark.parametrize("name", ["notes.txt", "part-9.parquet", "00009.tar.tmp", "_mine.parquet", ".hidden"])
def test_foreign_files_stay_and_are_named(tmp_path, caplog, name):
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    build(tmp_path, works(0, 1))
    assert name in caplog.text and "leaves alone" in caplog.text
    build(tmp_path, works(1), {"code": 2})
    assert (tmp_path / name).read_bytes() == b"mine" and (tmp_path / "folder").is_dir()


@pytest.mark.parametrize(("count", "more"), [(4, ""), (5, ""), (6, " and 1 more"), (38, " and 33 more")])
def test_five_foreign_files_are_named_and_all_are_counted(tmp_path, caplog, count, more):
    build(tmp_path, works(0))
    mine = sorted(f"z{number}.txt" for number in range(count))
    for name in mine:
        (tmp_path / name).write_text("mine")
    build(tmp_path, works(0, 1))
    (said,) = (line for line in caplog.messages if "did not make" in line)
    assert said.endswith(f"leaves alone: {', '.join(mine[:5])}{more}")


def test_a_foreign_file_is_never_replaced(tmp_path):
    (tmp_path / "00001.tar").write_bytes(b"mine")
    made: list[str] = []
    with pytest.raises(UserError, match=r"00001.tar is in the way: "):
        build(tmp_path, works(0, 1, made=made))
    assert (tmp_path / "00001.tar").read_bytes() == b"mine" and not made, "refused before any work"


def test_the_parts_of_a_folder_without_its_manifest_are_refused_at_once(tmp_path):
    build(tmp_path, works(0, 1, 2))
    (tmp_path / MANIFEST_NAME).unlink()
    with pytest.raises(UserError, match=r"00000.tar is in the way \(and 2 more\): .* made them") as error:
        build(tmp_path, works(0, 1, 2))
    assert f"dvc checkout {tmp_path}" in error.value.hint


def test_what_killed_runs_left_goes(tmp_path):
    build(tmp_path, works(0, 1))
    for name in ("00000.tar.0123abcd.tmp", "00001.tar.tmp"):  # of this version and of the first one
        (tmp_path / name).write_bytes(b"half")
    build(tmp_path, works(0, 1))
    assert names(tmp_path) == ["00000.tar", "00001.tar", "_failures.parquet", MANIFEST_NAME]


def test_readers_refuse_a_folder_under_construction_also_one_that_was_finished_before(tmp_path):
    build(tmp_path, works(0, 1))

    def killed(path: Path, progress: object) -> Made:
        raise Killed

    changed = [Work("00000.tar", Source("new"), written(b"new")), Work("00001.tar", Source("new"), killed)]
    with pytest.raises(Killed):
        build(tmp_path, changed)
    with pytest.raises(UserError, match="unfinished: 2 parts are committed"):
        load_complete_manifest(tmp_path, "shards")
    assert [part.source for part in load_manifest(tmp_path).parts] == ["new", "s1"]
    assert build(tmp_path, [changed[0], works(1)[0]]) == 0


def test_a_changed_fingerprint_twice_in_a_row_leaves_nothing_behind(tmp_path, caplog):
    """The second change comes while the first one is half done: what the first one made is still known as ours."""
    build(tmp_path, works(0, 1))
    killed_before_the_end(tmp_path, works(5), {"code": 2})
    with caplog.at_level(logging.INFO):
        assert build(tmp_path, works(0), {"code": 3}) == 1
    assert "stale: code: 2 -> 3" in caplog.text
    assert names(tmp_path) == ["00000.tar", "_failures.parquet", MANIFEST_NAME]


def test_a_fingerprint_that_changes_back_finds_what_was_not_overwritten(tmp_path):
    build(tmp_path, works(0, 1))
    killed_before_the_end(tmp_path, [Work("00000.tar", Source("s0"), written(b"other"))], {"code": 2})
    assert build(tmp_path, works(0, 1)) == 1
    assert (tmp_path / "00000.tar").read_bytes() == b"0"


@pytest.mark.parametrize("damage", ["torn", "flipped", "zeros", "header"])
def test_a_damaged_line_of_the_journal_costs_its_part(tmp_path, damage):
    killed_before_the_end(tmp_path, works(0, 1, 2), {"code": 1})
    path = tmp_path / JOURNAL_NAME
    content = bytearray(path.read_bytes())
    lines = content.split(b"\n")
    if damage == "torn":
        content = content[:-20]
    elif damage == "flipped":
        content[len(lines[0]) + 60] ^= 1
    elif damage == "zeros":
        content += bytes(300)
    else:
        content[12] ^= 1
    path.write_bytes(content)
    assert build(tmp_path, works(0, 1, 2)) == {"torn": 1, "flipped": 1, "zeros": 0, "header": 3}[damage]
    assert names(tmp_path) == ["00000.tar", "00001.tar", "00002.tar", "_failures.parquet", MANIFEST_NAME]


def test_a_journal_goes_on_after_a_torn_line(tmp_path):
    journal = Journal(tmp_path, {"kind": "shards"})
    journal.append({"n": 1})
    journal.close()
    with open(tmp_path / JOURNAL_NAME, "ab") as file:
        file.write(b"12345678 {torn")
    journal = Journal(tmp_path, None)
    journal.append({"n": 2})
    journal.close()
    assert read_journal(tmp_path).entries == [{"kind": "shards"}, {"n": 1}, {"n": 2}]


def test_tables_belong_to_the_manifest_and_change_only_with_their_content(tmp_path):
    table = lambda content: {"_table.bin": lambda path: path.write_bytes(content)}  # noqa: E731
    build(tmp_path, works(0), tables=table(b"one"))
    manifest = load_manifest(tmp_path)
    assert sorted(manifest.files) == ["_failures.parquet", "_table.bin"]
    inode = (tmp_path / "_table.bin").stat().st_ino
    build(tmp_path, works(0), tables=table(b"one"))
    assert (tmp_path / "_table.bin").stat().st_ino == inode
    for content in (b"two", b"one", b"two"):  # to a lower hash, to a higher one, and back
        build(tmp_path, works(0), tables=table(content))
        assert (tmp_path / "_table.bin").read_bytes() == content
    assert load_manifest(tmp_path).files["_table.bin"] != manifest.files["_table.bin"]
    build(tmp_path, works(0))
    assert not (tmp_path / "_table.bin").exists(), "it was ours"


def test_a_manifest_of_the_first_version_is_read(tmp_path):
    build(tmp_path, works(0, 1))
    path = tmp_path / MANIFEST_NAME
    content = read_sealed(path)
    del content["files"], content["corpus"]
    path.write_text(json.dumps(content | {"schema_version": 1}))
    assert len(load_complete_manifest(tmp_path, "shards").parts) == 2
    assert build(tmp_path, works(0, 1)) == 0
    assert json.loads(path.read_text())["schema_version"] == 2
    write_sealed(path, content | {"schema_version": 3})
    with pytest.raises(UserError, match="schema version 3"):
        load_manifest(tmp_path)
    path.write_text("[1]")
    with pytest.raises(CorruptError, match="is damaged"):
        load_manifest(tmp_path)


def test_names_sort_like_their_numbers():
    numbers = [0, 1, 9, 10, 99_998, 99_999, 100_000, 100_001, 999_999, 1_000_000, 12_345_678, 10**9]
    listed = [f"part-{numbered(number)}.parquet" for number in numbers]
    assert listed == sorted(listed)
    assert [number_of(name) for name in listed] == numbers
    assert numbered(7) == "00007" and number_of("notes.tar") is None


def seconds_of(folder: Path, count: int, clock=time.process_time) -> float:
    """What the bookkeeping of `count` tiny parts takes; of the processor, so that a busy disk does not count."""
    started = clock()
    build(folder, works(*range(count)))
    return clock() - started


def calls_of(folder: Path, count: int) -> int:
    """Function calls of the bookkeeping of `count` tiny parts: the same on every machine, however busy it is."""
    profile = cProfile.Profile()
    profile.runcall(build, folder, works(*range(count)))
    return pstats.Stats(profile).total_calls


def test_bookkeeping_grows_with_the_number_of_parts_and_no_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    calls_of(tmp_path / "warm", 5)
    few, many = calls_of(tmp_path / "few", 200), calls_of(tmp_path / "many", 2000)
    assert many / few < 10**1.05, "were the manifest written at each commit, ten times the parts took 100 times as much"


@pytest.mark.slow
def test_ten_thousand_tiny_parts(tmp_path):
    started = time.perf_counter()
    for number in range(500):
        write_bytes(tmp_path / f"{number % 7}", b"0")
    whole_file = (time.perf_counter() - started) / 500  # written, synced, renamed, its folder synced
    few, started = seconds_of(tmp_path / "1000", 1000), time.perf_counter()
    many, wall = seconds_of(tmp_path / "10000", 10_000), time.perf_counter() - started
    print(f"{wall / 10:.3f} ms a part; {whole_file * 1e3:.3f} ms to write any small file here and now")
    assert wall / 10_000 <= max(2e-3, 3 * whole_file), "2 ms where the disk is idle"
    assert many / few < 10**1.1, "a slope of at most 1.1"
    assert build(tmp_path / "10000", works(*range(10_000))) == 0


def test_a_change_in_the_manifest_alone_is_one_too(tmp_path):
    build(tmp_path, works(0))
    manifest = load_manifest(tmp_path)
    replace(manifest, complete=False).save(tmp_path)
    assert build(tmp_path, works(0)) == 0
    assert load_manifest(tmp_path) == manifest


@pytest.mark.parametrize("moment", ["before it is listed", "after it is listed"])
def test_a_failure_while_a_part_is_adopted_leaves_no_half_of_it(tmp_path, monkeypatch, moment):
    """Before its line there is no part and no file; after it the part has its name, as the line says."""
    parts = PartFolder(tmp_path, "shards", {"code": 1})
    todo = works(0)
    parts.plan(todo)
    record = write_part(tmp_path, todo[0], Silent())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if moment == "before it is listed":
        monkeypatch.setattr(Ledger, "journal", full)
    else:
        monkeypatch.setattr("pipeline.store.parts.ledger.move", full)
    with pytest.raises(OSError, match="No space left"):
        parts.adopt(record)
    monkeypatch.undo()
    parts.close()
    assert ("00000.tar" in names(tmp_path)) == (moment == "after it is listed")
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]
    assert build(tmp_path, works(0)) == (moment == "before it is listed")
