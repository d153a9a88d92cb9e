"""Processes that were started beside each other make a folder's parts in slices; a run without a slice adopts them."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files.atomic import move
from pipeline.progress import Silent
from pipeline.store import Manifest, PartFolder, run_parts
from pipeline.store.lock import HeldError
from pipeline.store.parts import folder as folder_module
from pipeline.store.parts.journal import JOURNAL_NAME, read_journal
from pipeline.store.parts.share import SHARES_NAME, WHOLE, Share
from tests.engines.works import works


def build(folder: Path, share: Share = WHOLE, code: int = 1, count: int = 7) -> tuple[Manifest, int]:
    with PartFolder(folder, "shards", {"code": code}, share=share) as parts:
        run_parts(parts, works(count), "test", "samples", Silent())
        return parts.finish(0.0), parts.computed


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_slices_and_the_run_after_them_leave_the_bytes_of_one_run(tmp_path):
    build(tmp_path / "one")
    made = [build(tmp_path / "three", Share(number, 3)) for number in (3, 1, 2)]
    assert [computed for _, computed in made] == [2, 3, 2]
    assert not list((tmp_path / "three").glob("*.*"))  # no manifest, and no part that a reader could take for all
    assert build(tmp_path / "three")[1] == 0
    assert content(tmp_path / "one") == content(tmp_path / "three")
    assert not (tmp_path / "three" / SHARES_NAME).exists()


def test_a_slice_makes_neither_what_it_has_nor_what_is_adopted(tmp_path):
    build(tmp_path, Share(1, 2))
    assert build(tmp_path, Share(1, 2))[1] == 0
    build(tmp_path, count=3)
    assert build(tmp_path, Share(1, 2))[1] == 2  # of the seven now, numbers 0, 2, 4, 6
    assert build(tmp_path, Share(2, 2))[1] == 2
    assert build(tmp_path)[1] == 0
    assert build(tmp_path, Share(2, 2))[1] == 0 and not (tmp_path / SHARES_NAME).exists()


def test_a_slice_makes_nothing_that_a_run_committed_which_did_not_get_to_its_end(tmp_path):
    with PartFolder(tmp_path, "shards", {"code": 1}) as parts:
        run_parts(parts, works(3), "test", "samples", Silent())
    assert build(tmp_path, Share(1, 2))[1] == 2  # of numbers 0, 2, 4, 6
    assert build(tmp_path, Share(1, 2), code=2)[1] == 4, "which other parameters made"


def test_of_two_slices_with_the_same_part_one_is_adopted(tmp_path):
    build(tmp_path / "one")
    build(tmp_path / "two", Share(1, 2))
    build(tmp_path / "two", Share(1, 3))
    with PartFolder(tmp_path / "two", "shards", {"code": 1}):
        adopted = [entry["part"]["name"] for entry in read_journal(tmp_path / "two").entries if "part" in entry]
        assert sorted(adopted) == [works(7)[number].name for number in (0, 2, 3, 4, 6)], "each of them once"
    assert build(tmp_path / "two")[1] == 2  # numbers 1 and 5
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_what_a_slice_made_takes_the_place_of_nobody_elses_file(tmp_path):
    build(tmp_path, Share(1, 2))
    mine = tmp_path / works(1)[0].name
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="is in the way"):
        build(tmp_path)
    assert mine.read_bytes() == b"mine"


def test_what_slices_left_undone_the_run_without_a_slice_makes(tmp_path):
    build(tmp_path, Share(1, 4))
    assert build(tmp_path)[1] == 5


def test_slices_of_other_parameters_are_not_adopted(tmp_path, caplog):
    build(tmp_path, Share(1, 2), code=0)
    caplog.set_level("INFO")
    assert build(tmp_path)[1] == 7
    assert "4 parts were made with other parameters" in caplog.text and not (tmp_path / SHARES_NAME).exists()


def test_nobody_adopts_from_a_slice_that_is_at_work(tmp_path):
    with PartFolder(tmp_path, "shards", {"code": 1}, share=Share(2, 3)), pytest.raises(HeldError, match="2-of-3"):
        build(tmp_path)
    with PartFolder(tmp_path, "shards", {"code": 1}, share=Share(2, 3)), pytest.raises(HeldError, match="2-of-3"):
        build(tmp_path, Share(2, 3))
    build(tmp_path, Share(1, 3))
    assert build(tmp_path)[1] == 4


@pytest.mark.parametrize("after", range(4))
def test_a_kill_while_slices_are_adopted_loses_nothing(tmp_path, monkeypatch, after):
    build(tmp_path / "one")
    for number in (1, 2):
        build(tmp_path / "two", Share(number, 2))
    left = [after]

    def killed(*arguments: object, **options: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        move(*arguments, **options)

    monkeypatch.setattr(folder_module, "move", killed)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "two")
    monkeypatch.undo()
    assert build(tmp_path / "two")[1] == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_record_of_a_slice_goes_last(tmp_path, monkeypatch):
    """After a kill nothing else would know that the other files may be removed."""
    build(tmp_path, Share(1, 2), code=0)
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == JOURNAL_NAME and path.parent.parent.name == SHARES_NAME:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    monkeypatch.undo()
    build(tmp_path)
    assert not (tmp_path / SHARES_NAME).exists()


def test_files_of_somebody_else_stay(tmp_path):
    build(tmp_path, Share(1, 2))
    theirs = tmp_path / SHARES_NAME / "1-of-2" / "notes.txt"
    theirs.write_text("mine")
    build(tmp_path)
    assert theirs.read_text() == "mine"


def test_a_share_depends_on_nothing_that_is_there():
    shares = [list(replace(Share(1, 3), number=number).of(range(8))) for number in (1, 2, 3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
