"""What an earlier run wrote: only files of ours go, also those of a run that was killed, and no table of somebody else."""

import os
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline.decode.isolated import POSSIBLE
from pipeline.errors import UserError
from pipeline.prepare.crops import cut_crops
from pipeline.prepare.prepared import Prepared, write_prepared
from pipeline.prepare.text_pool import make_text_pool
from pipeline.progress import Silent


def crop(at: Path, *rows: str) -> list[str]:
    (at / "frames").mkdir(exist_ok=True)
    Image.new("RGB", (10, 10)).save(at / "frames/a.png")
    (at / "boxes.csv").write_text("\n".join(["image,x0,y0,x1,y1", *rows]))
    cut_crops(at / "boxes.csv", at / "frames", at / "crops", at / "tables/crops.parquet", Silent())
    assert [path.name for path in (at / "tables").iterdir()] == ["crops.parquet"]
    return sorted(path.name for path in (at / "crops").iterdir())


def convert(at: Path, *keys: str) -> list[str]:
    makers = dict.fromkeys(keys, lambda: b"points")
    labels = [(key, "chair") for key in keys]
    prepared = Prepared("test", 1, labels=labels, classes={"chair": "chair"}, converted={"point": makers})
    write_prepared("crops", prepared, at, at / "tables")
    return sorted(path.stem for path in (at / "point").iterdir())


@pytest.mark.parametrize("make", [lambda at: crop(at, "a.png,0,0,1,1"), lambda at: convert(at, "a")])
def test_a_key_that_leads_elsewhere_removes_nothing(tmp_path, make):
    (tmp_path / "tables").mkdir()
    for name in ("precious.png", "precious.npy"):
        (tmp_path / name).write_bytes(b"of somebody else")
    keys = ["../precious", str(tmp_path / "precious"), "", None]
    pd.DataFrame({"key": keys}).to_parquet(tmp_path / "tables/crops.parquet")
    make(tmp_path)
    assert (tmp_path / "precious.png").is_file() and (tmp_path / "precious.npy").is_file()


@pytest.mark.parametrize("make", [lambda at: crop(at, "a.png,0,0,1,1"), lambda at: convert(at, "a")])
@pytest.mark.parametrize("content", [b"", b"text", b"PAR1", b"no key", b"half"])
def test_what_is_no_table_of_ours_is_not_replaced(tmp_path, make, content):
    table = tmp_path / "tables/crops.parquet"
    table.parent.mkdir()
    pd.DataFrame({"key" if content == b"half" else "name": ["a"] * 100}).to_parquet(table)
    if content == b"half":
        content = table.read_bytes()[: table.stat().st_size // 2]
    elif content == b"no key":
        content = table.read_bytes()
    table.write_bytes(content)
    with pytest.raises(UserError, match=r"crops\.parquet is not a table that mcr-connect wrote") as error:
        make(tmp_path)
    assert error.value.hint == "Move it away and run the command again." and table.read_bytes() == content


def publish(at: Path) -> None:
    prepared = Prepared("test", 1, files={"audio": [("a", "a.wav")]}, captions=[("a", "a dog")], templates=("{}",),
                        labels=[("a", "dog")], classes={"dog": "dog"}, regions=[("a", "a", None)])  # fmt: skip
    write_prepared("small", prepared, at / "raw", at / "tables")


def pool(at: Path) -> None:
    (at / "published/audiocaps").mkdir(parents=True, exist_ok=True)
    (at / "published/audiocaps/train.csv").write_text("audiocap_id,youtube_id,start_time,caption\n1,a,3,A dog\n")
    make_text_pool(at / "published", at / "raw", 1, 0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda at: crop(at, "a.png,0,0,1,1", "a.png,0,0,1,0.5"), "crops/a-1.png"),
        (lambda at: convert(at, "a", "b"), "point/b.npy"),
        *((publish, f"raw/{part}.jsonl") for part in ("audio", "captions", "prompts")),
        *((publish, f"tables/small{part}.parquet") for part in ("", "-regions")),
        *((pool, f"raw/{part}.jsonl") for part in ("captions", "left-out")),
    ],
)
def test_what_somebody_else_put_into_the_place_of_a_file_stays(tmp_path, make, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"of somebody else")
    for _ in range(2):  # not even the second time
        with pytest.raises(UserError, match=f"{path.name} is in the way") as error:
            make(tmp_path)
        assert error.value.hint and path.read_bytes() == b"of somebody else"
    path.unlink()
    for _ in range(2):
        make(tmp_path)
    assert path.read_bytes() != b"of somebody else"


@pytest.mark.parametrize("make", [publish, pool])
def test_a_run_that_was_killed_is_continued_wherever_that_was(tmp_path, monkeypatch, make):
    def rename(*paths: object) -> None:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        real(*paths)

    real = os.replace
    for at in range(1, 9):
        calls: list[int] = []
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", rename)
            with suppress(KeyboardInterrupt):
                make(folder)
        make(folder)
    assert len(calls) > 2


def test_crops_of_a_run_that_was_killed_go(tmp_path, monkeypatch):
    assert crop(tmp_path, "a.png,0,0,1,1") == ["a-0.png"]
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", killed_at(2))
        with pytest.raises(KeyboardInterrupt):
            crop(tmp_path, "a.png,0,0,1,1", "a.png,0,0,1,0.5", "a.png,0,0,1,0.2")
    assert (tmp_path / "crops/a-2.png").is_file()
    assert crop(tmp_path, "a.png,0,0,1,1") == ["a-0.png"]


def test_converted_files_of_a_run_that_was_killed_go(tmp_path, monkeypatch):
    assert convert(tmp_path, "a") == ["a"]
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", killed_at(2))
        with pytest.raises(KeyboardInterrupt):
            convert(tmp_path, "a", "b")
    assert (tmp_path / "point/b.npy").is_file()
    assert convert(tmp_path, "a") == ["a"]
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["crops.parquet"]


def killed_at(table: int):
    """Write tables as Arrow does, until the one of this number."""
    from pyarrow.parquet import write_table

    left = iter(range(table - 1))

    def write(*arguments, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_table(*arguments, **options)

    return write


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
def test_no_process_that_decodes_outlives_the_command(tmp_path, monkeypatch):
    forked, fork = [], os.fork

    def noted() -> int:
        if pid := fork():
            forked.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", noted)
    crop(tmp_path, "a.png,0,0,1,1")
    with pytest.raises(UserError, match=r"b\.png cannot be read"):
        crop(tmp_path, "a.png,0,0,1,1", "b.png,0,0,1,1")
    assert len(forked) == 2
    for pid in forked:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
