"""What an earlier run wrote: only files of ours go, also those of a run that was killed, and no table of somebody else."""

import errno
import io
import itertools
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.decode.isolated import POSSIBLE
from pipeline.errors import McrError, UserError
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


MAKERS = [(lambda at: crop(at, "a.png,0,0,1,1"), "x0"), (lambda at: convert(at, "a"), "label")]


def columns_like_ours(keys: list[str | None]) -> dict[str, dict[str, list]]:
    boxes = {edge: [0.5] * len(keys) for edge in ("x0", "y0", "x1", "y1")}
    return {"x0": {"key": keys, **boxes}, "label": {"key": keys, "label": ["chair"] * len(keys)}}


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_a_key_that_leads_elsewhere_removes_nothing(tmp_path, make, kind):
    make(tmp_path)
    for name in ("precious.png", "precious.npy"):
        (tmp_path / name).write_bytes(b"of somebody else")
    keys = ["a-0", "a", "../precious", str(tmp_path / "precious"), "", None]
    pq.write_table(pa.table(columns_like_ours(keys)[kind]), tmp_path / "tables/crops.parquet")
    make(tmp_path)
    assert (tmp_path / "precious.png").is_file() and (tmp_path / "precious.npy").is_file()


def of_somebody_else(keys: list[str | None], kind: str) -> dict[str, bytes]:
    """Files that no run wrote in the place of our table."""
    ours = pa.table(columns_like_ours(keys)[kind])
    tables = {
        "no key": pa.table({"name": keys}),
        "keys only": pa.table({"key": keys}),
        "more": ours.append_column("score", [[1.0] * len(keys)]),
        "other numbers": ours.set_column(1, ours.column_names[1], [[1] * len(keys)]),
        "of pandas": pa.Table.from_pandas(ours.to_pandas()),
    }
    contents = {"empty": b"", "text": b"text", "magic": b"PAR1"}
    for name, table in tables.items():
        pq.write_table(table, buffer := io.BytesIO())
        contents[name] = buffer.getvalue()
    return contents | {"half": contents["of pandas"][: len(contents["of pandas"]) // 2]}


@pytest.mark.parametrize(("make", "kind"), MAKERS)
@pytest.mark.parametrize("what", of_somebody_else(["a"], "x0"))
def test_what_is_no_table_of_ours_is_not_replaced(tmp_path, tree_bytes, make, kind, what):
    make(tmp_path)
    (tmp_path / "tables/crops.parquet").write_bytes(of_somebody_else(["a", "a-0", "mine"], kind)[what])
    for own in ("crops/mine.png", "point/mine.npy"):
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).write_bytes(b"of somebody else")
    before = tree_bytes(tmp_path)
    with pytest.raises(UserError, match=r"crops\.parquet is not a table that mcr-connect wrote") as error:
        make(tmp_path)
    assert error.value.hint == "Move it away and run the command again." and tree_bytes(tmp_path) == before


def test_a_table_like_ours_is_somebody_elses_where_no_set_was_prepared(tmp_path, tree_bytes):
    (tmp_path / "tables").mkdir()
    (tmp_path / "point").mkdir()
    (tmp_path / "point/b.npy").write_bytes(b"of somebody else")
    pq.write_table(pa.table(columns_like_ours(["b"])["label"]), tmp_path / "tables/crops.parquet")
    before = tree_bytes(tmp_path)
    with pytest.raises(UserError, match=r"crops\.parquet is in the way"):
        convert(tmp_path, "b")
    assert tree_bytes(tmp_path) == before


def test_a_refused_run_leaves_nothing_behind(tmp_path, tree_bytes):
    twice = Prepared("test", 2, files={"audio": [("a", "a.wav"), ("a", "b.wav")]})
    with pytest.raises(UserError, match="would get the key 'a'"):
        write_prepared("small", twice, tmp_path / "raw", tmp_path / "tables")
    assert tree_bytes(tmp_path) == {}
    (tmp_path / "point").mkdir()
    (tmp_path / "point/a.npy").write_bytes(b"of somebody else")
    with pytest.raises(UserError, match=r"a\.npy is in the way"):
        convert(tmp_path, "a")
    assert tree_bytes(tmp_path) == {"point/a.npy": b"of somebody else"}


def test_what_the_set_does_not_have_is_not_in_the_way(tmp_path, tree_bytes):
    own = ("raw/captions.jsonl", "raw/prompts.jsonl", "tables/small.parquet", "tables/small-regions.parquet")
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"of somebody else")
    for _ in range(2):
        prepared = Prepared("test", 1, files={"audio": [("a", "a.wav")]})
        assert write_prepared("small", prepared, tmp_path / "raw", tmp_path / "tables") == {"audio": 1}
    assert {name: tree_bytes(tmp_path)[name] for name in own} == dict.fromkeys(own, b"of somebody else")


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
def test_a_run_that_was_killed_is_continued_wherever_that_was(tmp_path, tree_bytes, monkeypatch, make):
    def rename(*paths: object) -> None:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        real(*paths)

    real = os.replace
    make(tmp_path / "undisturbed")
    whole = tree_bytes(tmp_path / "undisturbed")
    for at in itertools.count(1):
        calls: list[int] = []
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", rename)
            try:
                make(folder)
            except KeyboardInterrupt:
                assert tree_bytes(folder) != whole
            else:
                break
        make(folder)
        assert tree_bytes(folder) == whole
    assert at > 4


def test_a_pool_whose_captions_did_not_get_their_name_is_not_recorded(tmp_path, monkeypatch):
    def full(temporary: Path, path: Path) -> None:
        if path.name == "captions.jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(temporary, path)

    real = os.replace
    pool(tmp_path)
    captions = (tmp_path / "raw/captions.jsonl").read_bytes()
    with (tmp_path / "published/audiocaps/train.csv").open("a") as file:
        file.write("2,b,3,A cat\n")
    record = lambda: json.loads((tmp_path / "raw/pool.json").read_text())  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(McrError, match="space"):
            make_text_pool(tmp_path / "published", tmp_path / "raw", 1, 0)
    assert (tmp_path / "raw/captions.jsonl").read_bytes() == captions and "rows" not in record()
    make_text_pool(tmp_path / "published", tmp_path / "raw", 1, 0)
    assert (tmp_path / "raw/captions.jsonl").read_text().count("\n") == record()["rows"]["audiocaps"]["kept"] == 2


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
