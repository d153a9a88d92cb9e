"""A folder whose parts lie at an address: what is recorded is there, what is not recorded does not exist."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import TryAgainError, UserError
from pipeline.progress import Silent
from pipeline.store import Made, PartFolder, Source, Work, load_manifest, run_parts
from pipeline.store.manifest import MANIFEST_NAME, load_complete_manifest
from pipeline.store.parts import names
from pipeline.store.parts.file import checked_part, part_bytes
from pipeline.store.parts.journal import JOURNAL_NAME, Journal, read_journal
from pipeline.store.parts.ledger import Ledger
from pipeline.store.parts.prune import keep_only
from pipeline.store.parts.work import write_part
from tests.makers.s3_server import Bucket
from tests.store.remote.places import Place, place

__all__ = ["place"]


def works(*numbers: int, made: list[int] | None = None, version: str = "") -> list[Work]:
    def written(number: int) -> Callable[[Path, object], Made]:
        def make(path: Path, progress: object) -> Made:
            if made is not None:
                made.append(number)
            path.write_bytes(f"{number}{version}".encode() * 100)
            return Made([f"k{number}"])

        return make

    return [Work(f"{number:05d}.tar", Source(f"s{number}{version}"), written(number), 1) for number in numbers]


def build(folder: Path, address: str, todo: list[Work]) -> int:
    with PartFolder(folder, "shards", {"code": 1}, address=address) as parts:
        run_parts(parts, todo, "test", "samples", Silent())
        parts.finish(0.0, {"_table.bin": lambda path: path.write_bytes(b"table")})
        return parts.computed


def read(folder: Path) -> list[bytes]:
    return [checked_part(folder, part).read_bytes() for part in load_manifest(folder).parts]


def test_parts_lie_at_the_address_and_everything_else_in_the_folder(tmp_path: Path, place: Place) -> None:
    folder, local = tmp_path / "corpus", tmp_path / "local"
    assert build(folder, place.address, works(0, 1)) == 2
    build(local, "", works(0, 1))
    assert [[part_bytes(where, part) for part in load_manifest(where).parts] for where in (folder, local)] == [
        [100] * 2
    ] * 2
    assert place.contents() == {path.name: path.read_bytes() for path in local.glob("*.tar")}
    assert {path.name for path in folder.iterdir()} == {path.name for path in local.iterdir()} - set(place.contents())
    assert load_manifest(folder).content_hash == load_manifest(local).content_hash
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert read(folder) == [b"0" * 100, b"1" * 100]


def test_a_second_run_makes_and_changes_nothing(tmp_path: Path, place: Place) -> None:
    build(tmp_path / "corpus", place.address, works(0, 1))
    before = (tmp_path / "corpus" / MANIFEST_NAME).read_bytes(), place.contents()
    assert build(tmp_path / "corpus", place.address, works(0, 1)) == 0
    assert ((tmp_path / "corpus" / MANIFEST_NAME).read_bytes(), place.contents()) == before


def test_a_no_op_at_a_bucket_is_one_listing_and_no_download(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiobotocore.client import AioBaseClient

    build(tmp_path / "corpus", "s3://bucket/x", works(*range(5)))
    asked: list[str] = []
    call = AioBaseClient._make_api_call

    async def counted(self: AioBaseClient, operation: str, arguments: dict[str, object]) -> object:
        asked.append(operation)
        return await call(self, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", counted)
    build(tmp_path / "corpus", "s3://bucket/x", works(*range(5)))
    assert asked == ["ListObjectsV2"]


@pytest.mark.parametrize("harm", ["gone", "other bytes", "other bytes of the same length"])
def test_an_object_that_is_not_the_recorded_one_is_made_again(tmp_path: Path, place: Place, harm: str) -> None:
    build(tmp_path / "corpus", place.address, works(0, 1))
    content = place.contents()
    if harm == "gone":
        place.remove("00001.tar")
    else:
        place.write("00001.tar", b"x" * (100 if "length" in harm else 7))
    made: list[int] = []
    assert build(tmp_path / "corpus", place.address, works(0, 1, made=made)) == 1 and made == [1]
    assert place.contents() == content


def test_parts_that_are_parts_no_more_go_and_strangers_stay_and_are_named(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path / "corpus", place.address, works(0, 1, 2))
    place.write("notes.txt", b"mine")
    with caplog.at_level(logging.WARNING):
        build(tmp_path / "corpus", place.address, works(0, 1))
    assert set(place.contents()) == {"00000.tar", "00001.tar", "notes.txt"}
    assert f"{place.address} holds objects that this stage did not make and leaves alone: notes.txt" in caplog.text


def test_what_somebody_else_put_there_is_never_replaced(tmp_path: Path, place: Place) -> None:
    place.write("00001.tar", b"mine")
    with pytest.raises(UserError, match=r"00001\.tar is in the way"):
        build(tmp_path / "corpus", place.address, works(0, 1))
    assert place.contents() == {"00001.tar": b"mine"}


def test_a_file_in_the_place_of_a_subfolder_stops_the_stage_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PER_FOLDER", 2)
    (tmp_path / "store").mkdir()
    (tmp_path / "store/00002").write_text("mine")
    made: list[int] = []
    with pytest.raises(UserError, match="store/00002 is in the way"):
        build(tmp_path / "corpus", f"file://{tmp_path}/store", works(0, 1, 2, made=made))
    assert not made and (tmp_path / "store/00002").read_text() == "mine"


def test_a_subfolder_that_was_moved_to_another_disk_is_read_behind_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PER_FOLDER", 2)
    address = f"file://{tmp_path}/store"
    build(tmp_path / "corpus", address, works(0, 1, 2, 3))
    (tmp_path / "store/00002").rename(tmp_path / "disk")
    (tmp_path / "store/00002").symlink_to(tmp_path / "disk")
    assert build(tmp_path / "corpus", address, works(0, 1, 2, 3)) == 0
    assert build(tmp_path / "corpus", address, works(0, 1)) == 0
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["00002.tar", "00003.tar"], "never emptied"


def test_two_projects_do_not_share_an_address(tmp_path: Path, place: Place) -> None:
    build(tmp_path / "one", place.address, works(0))
    with pytest.raises(UserError, match="in the way"):
        build(tmp_path / "two", place.address, works(0, version="b"))
    assert read(tmp_path / "one") == [b"0" * 100]


def test_readers_refuse_a_folder_before_an_object_that_it_lists_is_replaced(tmp_path: Path, place: Place) -> None:
    folder = tmp_path / "corpus"
    build(folder, place.address, works(0, 1))
    changed = works(0, 1, version="b")

    def looking(path: Path, progress: object) -> Made:
        with pytest.raises(UserError, match="unfinished"):
            load_complete_manifest(folder, "shards")
        return changed[0].make(path, Silent())

    build(folder, place.address, [Work("00000.tar", Source("s0b"), looking, 1), changed[1]])
    assert read(folder) == [b"0b" * 100, b"1b" * 100]


@pytest.mark.parametrize("moment", ["before its line", "at its line"])
def test_a_signal_while_an_object_is_adopted_leaves_it_unlisted_and_the_folder_as_it_is(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = tmp_path / "corpus"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with PartFolder(folder, "shards", {"code": 1}, address=place.address) as parts:
        todo = works(0)
        parts.plan(todo)
        record = write_part(folder, parts.placed(todo[0]), Silent())
        before = below(folder)
        with monkeypatch.context() as signal:
            signal.setattr(*((Ledger, "journal") if moment == "before its line" else (Journal, "append")), stopped)
            with pytest.raises(KeyboardInterrupt):
                parts.adopt(record)
        assert below(folder) == before and not [entry for entry in read_journal(folder).entries if "part" in entry]
    assert build(folder, place.address, works(0)) == 1 and read(folder) == [b"0" * 100]


def test_an_object_that_changes_while_a_run_is_at_work_stops_it(tmp_path: Path, bucket: Bucket) -> None:
    folder = tmp_path / "corpus"
    with PartFolder(folder, "shards", {"code": 1}, address="s3://bucket/x") as parts:
        run_parts(parts, works(0, 1), "test", "samples", Silent())
        bucket.write("x/00000.tar", b"somebody else")
        with pytest.raises(TryAgainError, match=r"00000\.tar was changed"):
            parts.finish(0.0)
    assert not (folder / MANIFEST_NAME).exists()
    build(folder, "s3://bucket/x", works(0, 1))
    assert bucket.contents("x")["00000.tar"] == b"0" * 100


@pytest.mark.parametrize("way", ["there", "back", "on"])
def test_parts_move_where_the_parameters_say_and_none_is_made_again(tmp_path: Path, place: Place, way: str) -> None:
    folder, other = tmp_path / "corpus", f"file://{tmp_path / 'third'}"
    start, end = {"there": ("", place.address), "back": (place.address, ""), "on": (place.address, other)}[way]
    build(folder, start, works(0, 1))
    before = place.contents()
    made: list[int] = []
    assert build(folder, end, works(0, 1, made=made)) == 0 and not made
    assert read(folder) == [b"0" * 100, b"1" * 100]
    here = {path.name for path in folder.glob("*.tar")}
    assert here == ({"00000.tar", "00001.tar"} if way == "back" else set())
    if way != "there":
        assert place.contents() == before, "copies at an address are the user's to remove"
    assert build(folder, end, works(0, 1, 2, made=made)) == 1 and made == [2]


def test_a_store_that_left_the_parameters_keeps_its_objects_and_is_found_again(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "space" / "corpus"
    build(folder, place.address, works(0, 1))
    with caplog.at_level(logging.WARNING):
        keep_only(tmp_path / "space", [])
    assert f"left alone, because its parts lie at {place.address}" in caplog.text
    assert build(folder, place.address, works(0, 1)) == 0


@pytest.mark.parametrize("way", ["there", "back", "on"])
def test_further_parts_lie_below_the_address_as_they_lie_in_a_folder(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """From two parts on; those of an earlier run keep their addresses, and whatever moves moves into subfolders."""
    monkeypatch.setattr(names, "PER_FOLDER", 10**9)
    folder, other = tmp_path / "corpus", f"file://{tmp_path / 'third'}"
    start, end = {"there": ("", place.address), "back": (place.address, ""), "on": (place.address, other)}[way]
    build(folder, start, works(0, 1, 2, 3))
    before = place.contents()
    monkeypatch.setattr(names, "PER_FOLDER", 2)
    made: list[int] = []
    assert build(folder, start, works(0, 1, 2, 3, made=made)) == 0 and not made
    assert place.contents() == before
    assert build(folder, start, works(0, 1, 2, 3, 4, made=made)) == 1 and made == [4]
    assert [part.name for part in load_manifest(folder).parts][3:] == ["00003.tar", "00004/00004.tar"]
    assert build(folder, end, works(0, 1, 2, 3, 4, made=made)) == 0 and made == [4]
    there = {"there": place.folder, "back": folder, "on": tmp_path / "third"}[way]
    parts = lambda: {name for name in (place.contents() if way == "there" else below(there)) if name.endswith(".tar")}  # noqa: E731
    assert parts() == {"00000.tar", "00001.tar", "00002/00002.tar", "00002/00003.tar", "00004/00004.tar"}
    assert read(folder) == [b"%d" % number * 100 for number in range(5)]
    assert build(folder, end, works(0, 1)) == 0
    assert parts() == {"00000.tar", "00001.tar"} and not [path for path in there.glob("*") if path.is_dir()]


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


OPERATIONS = ("replace", "fsync", "unlink", "link", "open")
# What fsspec makes the methods without an underscore of; those themselves it would no longer make, were they replaced.
REQUESTS = ("_put_file", "_get_file", "_find", "_info", "_rm_file")


def dying(folder: Path, todo: list[Work], operation: int) -> bool:
    """Build in a child that ends right before its file operation or request of that number; whether it got to the end."""
    child = os.fork()
    if child == 0:
        import s3fs

        left = [operation]

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)

        def counted(real: Callable) -> Callable:
            def call(*arguments: object, **options: object) -> object:
                count()
                return real(*arguments, **options)

            return call

        def counted_request(real: Callable) -> Callable:
            async def call(*arguments: object, **options: object) -> object:
                count()
                return await real(*arguments, **options)

            return call

        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        for name in REQUESTS:
            setattr(s3fs.S3FileSystem, name, counted_request(getattr(s3fs.S3FileSystem, name)))
        build(folder, "s3://bucket/x", todo)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["first", "changed"])
def test_killed_before_every_operation_and_request_it_continues_to_the_same_bytes(
    tmp_path: Path, bucket: Bucket, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = works(0, 1, 2), [*works(0), *works(1, version="b"), *works(3)]
    todo = new if version == "changed" else old
    whole = {work.name: bytes_of(work, tmp_path / "whole") for work in todo}
    for operation in range(1, 1000):
        for name in bucket.contents("x"):
            bucket.remove(f"x/{name}")
        folder = tmp_path / f"killed-{operation}"
        if version == "changed":
            build(folder, "s3://bucket/x", old)
        finished = dying(folder, todo, operation)
        kept = {entry["part"]["name"] for entry in read_journal(folder).entries if "part" in entry}
        made: list[int] = []
        build(folder, "s3://bucket/x", [again(work, made) for work in todo])
        assert bucket.contents("x") == whole and read(folder) == [whole[work.name] for work in todo], operation
        assert not kept & {f"{number:05d}.tar" for number in made}, f"{operation}: made again"
        assert not (folder / JOURNAL_NAME).exists() and not list(folder.glob("*.tmp"))
        shutil.rmtree(folder)
        if finished:
            assert operation > 20, json.dumps(sorted(whole))
            return


def bytes_of(work: Work, path: Path) -> bytes:
    work.make(path, Silent())
    return path.read_bytes()


def again(work: Work, made: list[int]) -> Work:
    def make(path: Path, progress: Silent) -> Made:
        made.append(int(work.name[:5]))
        return work.make(path, progress)

    return Work(work.name, work.source, make, 1)
