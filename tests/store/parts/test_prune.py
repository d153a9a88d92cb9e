"""Only what our own records list is removed; sources and outputs never lie in each other."""

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.store import Made, PartFolder, Source, Work, run_parts
from pipeline.store.integrity.overlap import refuse_overlap
from pipeline.store.parts.prune import keep_only


def store(folder: Path, finish: bool = True) -> Path:
    def make(path: Path, progress: object) -> Made:
        path.write_bytes(b"part")
        return Made(["k"])

    with PartFolder(folder, "pairs", {}) as parts:
        run_parts(parts, [Work("part-00000.parquet", Source("s"), make)], "test", "rows", Silent())
        if finish:
            parts.finish(0.0, {"_examples.parquet": lambda path: path.write_bytes(b"table")})
    return folder


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    files = {"projector.safetensors": "0" * 64, "history.parquet": "1" * 64}
    for name in files:
        (folder / name).write_bytes(b"model")
    (folder / "config.json").write_text(json.dumps({"files": files}))
    return folder


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("finish", [True, False])
def test_what_no_parameter_names_any_more_goes(tmp_path, finish):
    root = tmp_path / "audio_image"
    kept = store(root / "clip-clap" / "overlap")
    store(root / "clip-ulip" / "overlap", finish)
    store(root)  # as the first version laid it out
    model(root / "old")
    keep_only(root, [kept])
    assert {path.parent for path in root.rglob("*") if path.is_file()} == {kept}
    assert [path.name for path in root.iterdir()] == ["clip-clap"]


def test_a_link_that_the_configuration_of_a_connection_still_lists_goes_with_its_files(tmp_path):
    """The configuration of several links lists what is in their folders, which are no subfolders of parts."""
    output = tmp_path / "unified"
    kept, gone = model(output / "clap"), model(output / "ulip")
    listed = {f"{link}/projector.safetensors": "0" * 64 for link in ("clap", "ulip")}
    (output / "config.json").write_text(json.dumps({"files": listed}))
    keep_only(output, [output, kept])
    assert not gone.exists() and {path.parent for path in output.rglob("*") if path.is_file()} == {output, kept}


def test_what_is_not_ours_stays_and_is_named(tmp_path, caplog):
    root = tmp_path / "clip"
    kept, gone = store(root / "photos" / "image"), store(root / "old" / "image")
    mine = [gone / "notes.txt", gone.parent / "part-00000.parquet", root / "mine" / "thesis.tex", root / "readme"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (root / "link").symlink_to(tmp_path)
    keep_only(root, [kept])
    assert all(path.read_text() == "mine" for path in mine) and (root / "link").is_symlink()
    assert not (gone / "part-00000.parquet").exists() and (kept / "part-00000.parquet").exists()
    for path in mine:
        assert path.name in caplog.text


def test_where_nothing_was_made_yet_there_is_nothing_to_remove(tmp_path):
    keep_only(tmp_path / "clip", [tmp_path / "clip" / "photos"])
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_manifest_is_damaged_is_left_alone(tmp_path, caplog):
    gone = store(tmp_path / "clip" / "old" / "image")
    (gone / "_manifest.json").write_text("{")
    keep_only(tmp_path / "clip", [tmp_path / "clip" / "photos"])
    assert (gone / "part-00000.parquet").exists() and "contents are unknown" in caplog.text


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data/raw", "data/raw/shards"),
        ("data/shards/raw", "data/shards"),
        ("data", "data"),
        ("link/raw", "data"),
        ("data", "link/out"),
    ],
)
def test_a_source_in_an_output_or_around_it_is_refused_before_any_work(tmp_path, source, output):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / source).mkdir(parents=True, exist_ok=True)
    (tmp_path / source / "a.txt").write_text("a caption")
    with pytest.raises(UserError, match="is in"):
        build_shards(tmp_path / source, tmp_path / output, ShardSettings(("text",), 10, "error", 0.0), Silent())
    assert files(tmp_path / "data") and not list((tmp_path / "data").rglob("*.tar"))
    assert (tmp_path / source / "a.txt").read_text() == "a caption"


def test_a_file_beside_the_output_is_no_overlap(tmp_path):
    (tmp_path / "captions.txt").write_text("one\n")
    refuse_overlap(tmp_path / "captions.txt", tmp_path / "out")
    refuse_overlap(tmp_path / "raw", tmp_path / "rawer")
    with pytest.raises(UserError, match="is in"):
        refuse_overlap(tmp_path / "captions.txt", tmp_path)
