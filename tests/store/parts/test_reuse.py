"""Which parts of an earlier run are kept: those that are intact, of the same source, and that today's decoders would make."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.progress import Silent
from pipeline.store import Made, PartFolder, Source, Work, run_parts
from pipeline.store.parts import folder as folder_module
from pipeline.store.parts.share import WHOLE, Share

NAME = "00000.tar"
ORDERS = ["lower", "higher"]


def work(source: str = "m", content: bytes = b"content", **more: object) -> Work:
    def make(path: Path, progress: object) -> Made:
        path.write_bytes(content)
        return Made(["k"])

    return Work(NAME, Source(source), make, 1, **more)


def build(folder: Path, todo: Work, decoders: int = 0, share: Share = WHOLE) -> int:
    with PartFolder(folder, "shards", {"code": 1}, decoders=decoders, share=share) as parts:
        run_parts(parts, [todo], "test", "samples", Silent())
        parts.finish(0.0)
        return parts.computed


def damaged(content: bytes, order: str) -> bytes:
    """As long as `content`, with a lower or a higher hash: neither may pass for the same."""
    hash_of = lambda each: hashlib.sha256(each).hexdigest()  # noqa: E731
    tried = (bytes([*content[:-1], last]) for last in range(256) if last != content[-1])
    return next(each for each in tried if (hash_of(each) < hash_of(content)) == (order == "lower"))


@pytest.mark.parametrize("order", ORDERS)
def test_a_slice_makes_anew_what_is_damaged_in_the_whole_folder(tmp_path, order):
    build(tmp_path, work())
    (tmp_path / NAME).write_bytes(damaged(b"content", order))
    assert build(tmp_path, work(), share=Share(1, 1)) == 1


def test_a_slice_makes_nothing_that_is_intact_in_the_whole_folder(tmp_path):
    build(tmp_path, work())
    assert build(tmp_path, work(), share=Share(1, 1)) == 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_part_that_was_replaced_is_made_anew(tmp_path, order):
    build(tmp_path, work())
    (tmp_path / NAME).write_bytes(damaged(b"content", order))
    assert build(tmp_path, work()) == 1


def test_a_file_that_nobody_touched_is_not_read_again(tmp_path, monkeypatch):
    build(tmp_path, work())
    build(tmp_path, work())  # the first run that finds it notes what it looks like
    monkeypatch.setattr(folder_module, "sha256_file", lambda path: pytest.fail(f"{path} is read"))
    assert build(tmp_path, work()) == 0


@pytest.mark.parametrize("source", ["a", "z"])
def test_a_slice_whose_source_changed_takes_the_place_of_the_part(tmp_path, source):
    build(tmp_path, work("m", b"before"))
    build(tmp_path, work(source, b"after"), share=Share(1, 1))
    assert build(tmp_path, work(source, b"another")) == 0
    assert (tmp_path / NAME).read_bytes() == b"after"


@pytest.mark.parametrize(("made_by", "now", "asked"), [(0, 1, True), (1, 1, False), (2, 1, False)])
def test_only_a_part_of_earlier_decoders_may_be_outdated(tmp_path, made_by, now, asked):
    build(tmp_path, work(), decoders=made_by)
    questions: list[str] = []
    outdated = lambda part: questions.append(part.file_name) or ""  # noqa: E731
    assert build(tmp_path, replace(work(), outdated=outdated), decoders=now) == 0
    assert bool(questions) == asked
    build(tmp_path / "other", work(), decoders=made_by)
    assert build(tmp_path / "other", work(outdated=lambda part: "decoded otherwise"), decoders=now) == asked


def test_a_part_that_does_not_say_is_of_the_first_decoders(tmp_path):
    with PartFolder(tmp_path, "shards", {"code": 1}) as parts:
        run_parts(parts, [work()], "test", "samples", Silent())
        parts.finish(0.0)
    assert build(tmp_path, work(outdated=lambda part: "decoded otherwise"), decoders=1) == 1


def test_a_damaged_part_is_not_asked_whether_it_is_outdated(tmp_path):
    build(tmp_path, work())
    (tmp_path / NAME).write_bytes(b"another")
    assert build(tmp_path, work(outdated=lambda part: pytest.fail("it is made anew anyway")), decoders=1) == 1
