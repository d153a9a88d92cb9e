"""From a thousand parts on, here from two on, parts lie in a subfolder for each thousand; earlier folders stay as they are."""

import hashlib
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.errors import CorruptError, UserError
from pipeline.progress import Silent
from pipeline.store import Part, PartFolder, load_manifest, run_parts
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts import names, subfolders
from pipeline.store.parts.journal import JOURNAL_NAME, Journal
from pipeline.store.parts.names import folder_of, path_in_folder
from pipeline.store.parts.prune import keep_only
from pipeline.store.parts.share import SHARES_NAME, Share
from pipeline.store.parts.subfolders import make_subfolders, unlisted_parts
from tests.store.parts.test_folder import build, killed_before_the_end, works
from tests.store.parts.test_slices import build as build_share

SEVEN = [
    "00000.tar", "00001.tar", "00002/00002.tar", "00002/00003.tar", "00004/00004.tar", "00004/00005.tar", "00006/00006.tar",
]  # fmt: skip
FLAT = [f"{number:05d}.tar" for number in range(7)]
TABLES = ["_failures.parquet", MANIFEST_NAME]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PER_FOLDER", 2)


@pytest.fixture
def earlier(tmp_path: Path, two: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of seven parts, all in it, as earlier versions left it."""
    with monkeypatch.context() as before:
        before.setattr(names, "PER_FOLDER", 10**9)
        build(tmp_path / "corpus", works(*range(7)))
    assert files(tmp_path / "corpus") == [*FLAT, *TABLES]
    return tmp_path / "corpus"


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def folders(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir())


def looks(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in files(folder)}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("00999.tar", "00999.tar"),
        ("01000.tar", "01000/01000.tar"),
        ("part-00999.parquet", "part-00999.parquet"),
        ("part-01999.parquet", "part-01000/part-01999.parquet"),
        ("clip_image-99999.parquet", "clip_image-99000/clip_image-99999.parquet"),
        ("part-a100000.parquet", "part-a100000/part-a100000.parquet"),
        ("a123456.tar", "a123000/a123456.tar"),
        ("whole.parquet", "whole.parquet"),
        ("_failures.parquet", "_failures.parquet"),
    ],
)
def test_the_first_thousand_lie_in_the_folder_itself(name: str, path: str) -> None:
    assert path_in_folder(name) == path
    assert folder_of(Path("data/shards/x") / path) == Path("data/shards/x")


@pytest.mark.parametrize(
    "path", ["c1/00005.tar", "a1/00005.tar", "sounds-1/part-00005.parquet", "text/part-01742.parquet"]
)
def test_a_corpus_is_no_subfolder_whatever_it_is_called(path: str) -> None:
    assert folder_of(Path(path)) == Path(path).parent


@pytest.mark.parametrize("form", ["{}.tar", "part-{}.parquet", "text-{}.parquet"])
def test_paths_sort_like_their_numbers_and_no_folder_has_more_than_a_thousand(form: str) -> None:
    numbers = [*range(0, 200_000, 7), 999_999, 1_000_000, 12_345_678]
    paths = [path_in_folder(form.format(names.numbered(number))) for number in numbers]
    assert paths == sorted(paths)
    all_paths = [path_in_folder(form.format(names.numbered(number))) for number in range(12_500)]
    counts: dict[str, int] = {}
    for path in all_paths:
        counts[os.path.dirname(path)] = counts.get(os.path.dirname(path), 0) + 1
    assert len(set(all_paths)) == 12_500 and max(counts.values()) == 1_000 and len(counts) == 13


@pytest.mark.usefixtures("two")
def test_parts_lie_two_by_two_and_a_second_run_writes_nothing(tmp_path: Path) -> None:
    assert build(tmp_path, works(*range(7))) == 7
    assert files(tmp_path) == [*SEVEN, *TABLES]
    manifest, before = load_manifest(tmp_path), looks(tmp_path)
    assert [part.name for part in manifest.parts] == SEVEN
    assert [(tmp_path / part.name).read_bytes() for part in manifest.parts] == [b"%d" % n for n in range(7)]
    assert build(tmp_path, works(*range(7))) == 0 and looks(tmp_path) == before


def test_what_the_parts_hold_does_not_depend_on_where_they_lie(tmp_path: Path, earlier: Path) -> None:
    build(tmp_path / "now", works(*range(7)))
    first, second = load_manifest(earlier), load_manifest(tmp_path / "now")
    assert first.content_hash == second.content_hash
    assert [replace(part, name=part.file_name) for part in second.parts] == list(first.parts)


def test_an_earlier_folder_is_used_as_it_is(earlier: Path) -> None:
    before, made = looks(earlier), []
    assert build(earlier, works(*range(7), made=made)) == 0 and not made
    assert looks(earlier) == before


def test_an_earlier_folder_that_grows_or_changes_makes_no_part_twice(earlier: Path) -> None:
    before = looks(earlier)
    assert build(earlier, works(*range(9))) == 2
    assert [part.name for part in load_manifest(earlier).parts] == [*FLAT[:7], "00006/00007.tar", "00008/00008.tar"]
    changed = replace(works(4)[0], source=replace(works(4)[0].source, digest="other"))
    assert build(earlier, [*works(0, 1, 2, 3), changed, *works(5, 6, 7, 8)]) == 1
    assert files(earlier) == sorted([*FLAT, "00006/00007.tar", "00008/00008.tar", *TABLES]), "replaced where it lies"
    same = looks(earlier)
    assert all(same[name] == before[name] for name in FLAT if name != "00004.tar")


def test_in_an_earlier_folder_too_the_order_of_parts_is_that_of_their_numbers(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose subfolder may be called like a part that lies beside it."""
    monkeypatch.setattr(names, "PER_FOLDER", 4)
    assert build(earlier, works(*range(9))) == 2
    listed = [*FLAT, "00004/00007.tar", "00008/00008.tar"]
    assert [part.name for part in load_manifest(earlier).parts] == listed
    killed_before_the_end(earlier, [*works(*range(8)), *works(10)], {"code": 1})
    assert [part.name for part in load_manifest(earlier).parts] == [*listed, "00008/00010.tar"]


@pytest.mark.parametrize("code", [1, 2])
def test_an_earlier_run_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with monkeypatch.context() as before:
        before.setattr(names, "PER_FOLDER", 10**9)
        killed_before_the_end(tmp_path, works(0, 1, 2, 3), {"code": 1})
    monkeypatch.setattr(names, "PER_FOLDER", 2)
    assert build(tmp_path, works(*range(5)), {"code": code}) == (1 if code == 1 else 5)
    assert [part.name for part in load_manifest(tmp_path).parts] == [*FLAT[:4], "00004/00004.tar"]


def test_an_earlier_folder_whose_manifest_is_lost_is_replaced_where_it_lies(earlier: Path) -> None:
    (earlier / MANIFEST_NAME).write_text("{")
    assert build(earlier, works(*range(7))) == 7
    assert files(earlier) == [*FLAT, *TABLES]


@pytest.mark.usefixtures("two")
def test_parts_that_are_none_any_more_go_with_their_subfolder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path, works(*range(7)))
    (tmp_path / "00004/notes.txt").write_text("mine")
    (tmp_path / "00009").mkdir()
    with caplog.at_level(logging.WARNING):
        assert build(tmp_path, works(0, 1, 2)) == 0
    assert "leaves alone: 00004/notes.txt" in caplog.text
    assert files(tmp_path) == sorted(["00000.tar", "00001.tar", "00002/00002.tar", "00004/notes.txt", *TABLES])
    assert folders(tmp_path) == ["00002", "00004", "00009"], "an empty folder of somebody else is not ours either"
    build(tmp_path, works(*range(7)))
    assert (tmp_path / "00004/notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("two")
def test_what_killed_runs_left_in_a_subfolder_goes(tmp_path: Path) -> None:
    build(tmp_path, works(*range(4)))
    (tmp_path / "00002/00002.tar.0123abcd.tmp").write_bytes(b"half")
    build(tmp_path, works(*range(4)))
    assert files(tmp_path) == [*SEVEN[:4], *TABLES]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("what", ["file", "link", "part"])
def test_what_lies_in_the_place_of_a_subfolder_stops_the_stage(tmp_path: Path, what: str) -> None:
    (tmp_path / "theirs").mkdir()
    place = tmp_path / "corpus/00002"
    (tmp_path / "corpus").mkdir()
    if what == "file":
        place.write_text("mine")
    elif what == "link":
        place.symlink_to(tmp_path / "theirs")
    else:
        place.mkdir()
        (place / "00003.tar").write_text("mine")
    made: list[str] = []
    with pytest.raises(UserError, match="is in the way"):
        build(tmp_path / "corpus", works(*range(4), made=made))
    assert not made and not list((tmp_path / "theirs").iterdir())


@pytest.mark.usefixtures("two")
def test_a_folder_that_vanishes_before_its_subfolders_are_made_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone/00002: it does not exist, or not any more"):
        make_subfolders(tmp_path / "gone", ["00002/00002.tar"])


@pytest.mark.usefixtures("two")
def test_nothing_behind_a_link_is_removed(tmp_path: Path) -> None:
    """Somebody moved a subfolder to another disk: it is read there, and never emptied."""
    build(tmp_path / "corpus", works(*range(4)))
    (tmp_path / "corpus/00002").rename(tmp_path / "disk")
    (tmp_path / "corpus/00002").symlink_to(tmp_path / "disk")
    assert build(tmp_path / "corpus", works(*range(4))) == 0
    build(tmp_path / "corpus", works(0, 1))
    keep_only(tmp_path, [])
    assert files(tmp_path / "disk") == ["00002.tar", "00003.tar"]
    assert not list((tmp_path / "corpus").glob("*.tar")) and (tmp_path / "corpus/00002").is_symlink()


@pytest.mark.parametrize("name", ["../00000.tar", "/tmp/00000.tar", "00002/../../x.tar", "", "00002//x.tar", "."])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "out.tar").write_bytes(b"theirs")
    folder = tmp_path / "corpus"
    build(folder, works(0))
    manifest = load_manifest(folder)
    replace(manifest, parts=(replace(manifest.parts[0], name=name),)).save(folder)
    with pytest.raises(CorruptError, match="leads out of"):
        load_manifest(folder)
    keep_only(tmp_path, [])
    assert (tmp_path / "out.tar").read_bytes() == b"theirs"


def test_a_temporary_name_that_leads_out_of_the_folder_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "corpus").mkdir()
    digest = hashlib.sha256(b"theirs").hexdigest()
    journal = Journal(tmp_path / "corpus", {"kind": "shards", "fingerprint": {"code": 1}, "own": []})
    journal.append({"part": asdict(Part("00000.tar", 1, digest, "k", "s0")), "temporary": "../theirs"})
    journal.close()
    assert build(tmp_path / "corpus", works(0)) == 1
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


@pytest.mark.usefixtures("two")
def test_slices_leave_the_bytes_and_the_places_of_one_run(tmp_path: Path) -> None:
    build_share(tmp_path / "one")
    for number in (2, 1):
        build_share(tmp_path / "two", Share(number, 2))
    waiting = tmp_path / "two" / SHARES_NAME / "1-of-2"
    assert set(files(waiting)) - {JOURNAL_NAME} == {SEVEN[number] for number in (0, 2, 4, 6)}
    assert build_share(tmp_path / "two")[1] == 0
    assert files(tmp_path / "one") == files(tmp_path / "two") and not (tmp_path / "two" / SHARES_NAME).exists()


@pytest.mark.usefixtures("two")
def test_a_slice_that_ended_before_its_first_part_leaves_no_subfolders_for_good(tmp_path: Path) -> None:
    with PartFolder(tmp_path, "shards", {"code": 1}, share=Share(1, 2)) as parts:
        parts.plan(works(*range(7)))
    assert folders(tmp_path / SHARES_NAME / "1-of-2") == ["00002", "00004", "00006"]
    build(tmp_path, works(0))
    assert not (tmp_path / SHARES_NAME).exists()


@pytest.mark.usefixtures("two")
def test_what_no_parameter_names_any_more_goes_with_its_subfolders(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, gone, theirs = (tmp_path / "space" / name for name in ("kept", "gone", "theirs"))
    for folder in (kept, gone, theirs):
        build(folder, works(*range(7)))
    (theirs / "00004/notes.txt").write_text("mine")
    with caplog.at_level(logging.WARNING):
        keep_only(tmp_path / "space", [kept])
    assert files(kept) == [*SEVEN, *TABLES] and not gone.exists()
    assert files(theirs) == ["00004/notes.txt"] and folders(theirs) == ["00004"]
    assert [record.message for record in caplog.records] == [
        f"{theirs} holds files that no stage made and that are left alone: 00004/notes.txt"
    ]


@pytest.mark.usefixtures("two")
def test_parts_that_no_manifest_lists_are_found_in_subfolders_too(tmp_path: Path) -> None:
    build(tmp_path, works(*range(4)))
    (tmp_path / "00004").mkdir()
    for name in ("00004/00005.tar", "00004/notes.tar", "00002/00009.tar"):
        (tmp_path / name).write_bytes(b"?")
    assert unlisted_parts(tmp_path, "*.tar", SEVEN[:4]) == ["00002/00009.tar", "00004/00005.tar"]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written down and synced, in its order."""
    said: list[str] = []
    real, append = subfolders.sync_directory, Journal.append
    monkeypatch.setattr(subfolders, "sync_directory", lambda path: (said.append(f"sync {path.name}"), real(path))[1])

    def listed(self: Journal, entry: dict) -> None:
        said.append(f"list {entry['part']['name']}" if "part" in entry else "own")
        append(self, entry)

    monkeypatch.setattr(Journal, "append", listed)
    return said


@pytest.mark.usefixtures("two")
def test_a_subfolder_is_durable_before_a_part_in_it_is_listed_and_its_names_before_the_manifest(
    tmp_path: Path, order: list[str]
) -> None:
    folder = tmp_path / "corpus"
    with PartFolder(folder, "shards", {"code": 1}) as parts:
        run_parts(parts, works(*range(4)), "test", "samples", Silent())
        assert order[0] == "sync corpus" and "list 00002/00002.tar" in order
        parts.finish(0.0)
    assert order[-2:] == ["sync 00002", "sync corpus"] and not (folder / JOURNAL_NAME).exists()
