"""WebDataset tars that somebody else wrote are the shards, where they lie; written here by webdataset's own writer in the layout of
img2dataset (its writer.py: `<key>.jpg`, `.txt` and `.json` in `00000.tar`, beside `00000.parquet` and `00000_stats.json`)."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.errors import UserError
from pipeline.leaks.likeness import look_at
from pipeline.progress import Silent
from pipeline.shard import adopted
from pipeline.shard.adopted import adopt_tars
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.options import SourceOptions
from pipeline.spaces import SpaceSpec
from pipeline.store import read_embeddings
from pipeline.store.content.hashes import read_contents
from pipeline.store.manifest import load_manifest
from pipeline.store.parts import names
from pipeline.verify.parts import check_shards

BOTH = SourceOptions(("image", "text"))


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 37 % 256, number * 101 % 256, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_tar(folder: Path, shard: int, count: int = 6, without_text: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{shard:05d}.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for row in range(count):
            key = f"{shard:05d}{row:04d}"
            sample = {"__key__": key, "jpg": jpeg(shard * 10 + row), "json": json.dumps({"key": key}).encode()}
            writer.write(sample if row < without_text else {**sample, "txt": f"caption {key}".encode()})
    pq.write_table(pa.table({"key": ["x"]}), folder / f"{shard:05d}.parquet")
    (folder / f"{shard:05d}_stats.json").write_text("{}")
    return path


@pytest.fixture
def laion(tmp_path) -> Path:
    (tmp_path / ".dvc").mkdir()
    for shard in range(3):
        write_tar(tmp_path / "laion", shard)
    return tmp_path / "laion"


def adopt(source: Path | str, folder: Path, options: SourceOptions = BOTH, max_rejected: float = 0.0):
    return adopt_tars([str(source)], folder, options, max_rejected, False, Silent())


def state_of(folder: Path) -> dict[str, tuple]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.iterdir())
    }


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Tars that were read."""
    taken: list[str] = []
    real = adopted.read_tar
    monkeypatch.setattr(adopted, "read_tar", lambda name, *more: taken.append(name) or real(name, *more))
    return taken


def test_nothing_is_copied_and_nothing_is_touched(laion, tmp_path):
    before = state_of(laion)
    manifest, count = adopt(laion, tmp_path / "data/shards/laion")
    assert (manifest.rows, count) == (18, 3) and state_of(laion) == before
    names = {path.name for path in (tmp_path / "data/shards/laion").iterdir()}
    assert names == {"_manifest.json", "_contents.parquet", "_duplicates.parquet", "_failures.parquet"}
    assert [part.location.address for part in manifest.parts] == [f"file://{laion}/0000{n}.tar" for n in range(3)]
    assert manifest.not_read == {".json": 3, ".parquet": 3}


def test_embeddings_are_those_of_a_copied_corpus(laion, tmp_path, hash_space):
    adopt(laion, tmp_path / "data/shards/laion")
    settings = ShardSettings(("image", "text"), 6, "error", 0.0)
    build_shards(
        laion, tmp_path / "data/shards/copied", settings, Silent(), SourceOptions(("image", "text"), kind="webdataset")
    )
    found = {}
    for corpus in ("laion", "copied"):
        out = tmp_path / f"out/{corpus}"
        encode_corpus(
            hash_space, "hash", SpaceSpec("hash", "x"), tmp_path / "data/shards" / corpus, out, EncodeSettings(4, 2, 0.0), Silent()
        )  # fmt: skip
        found[corpus] = {modality: read_embeddings([out / modality]) for modality in ("image", "text")}
    for modality in ("image", "text"):
        assert found["laion"][modality][0] == found["copied"][modality][0]
        assert np.array_equal(found["laion"][modality][1], found["copied"][modality][1])
    contents = {name: sorted(read_contents(tmp_path / "data/shards" / name)) for name in ("laion", "copied")}
    assert contents["laion"] == contents["copied"]


def test_names_of_adopted_tars_are_no_paths_and_what_is_made_of_them_goes_to_subfolders(
    laion, tmp_path, monkeypatch, read, hash_space
):
    monkeypatch.setattr(names, "PER_FOLDER", 1)
    corpus = tmp_path / "shards/laion"
    manifest, _ = adopt(laion, corpus)
    assert [part.name for part in manifest.parts] == ["00000.tar", "00001.tar", "00002.tar"]
    assert not [path for path in corpus.iterdir() if path.is_dir()]
    read.clear()
    assert adopt(laion, corpus)[1] == 0 and not read
    settings = EncodeSettings(4, 2, 0.0)
    made = encode_corpus(hash_space, "hash", SpaceSpec("hash", "x"), corpus, tmp_path / "out", settings, Silent())
    assert [part.name for part in made["image"][0].parts] == [
        "part-00000.parquet", "part-00001/part-00001.parquet", "part-00002/part-00002.parquet",
    ]  # fmt: skip


def test_a_second_run_reads_no_tar_and_a_new_tar_is_read_alone(laion, tmp_path, read, tree_bytes):
    folder = tmp_path / "data/shards/laion"
    adopt(laion, folder)
    before = tree_bytes(folder)
    read.clear()
    assert adopt(laion, folder)[1] == 0 and not read and tree_bytes(folder) == before
    write_tar(laion, 7)
    assert adopt(laion, folder)[1] == 1 and read == ["00003.tar"]
    assert len(list(read_contents(folder))) == 48


def test_a_tar_that_changed_is_read_again_and_one_that_is_gone_is_forgotten(laion, tmp_path, read):
    folder = tmp_path / "data/shards/laion"
    adopt(laion, folder)
    read.clear()
    write_tar(laion, 1, count=4)
    (laion / "00000.tar").unlink()
    manifest, count = adopt(laion, folder)
    assert (manifest.rows, count, read) == (10, 1, ["00001.tar"])
    assert [part.name for part in manifest.parts] == ["00001.tar", "00002.tar"], "each keeps its number"
    assert (laion / "00002.tar").is_file()


def test_verify_reads_adopted_tars(laion, tmp_path):
    folder = tmp_path / "data/shards/laion"
    adopt(laion, folder)
    assert check_shards(folder).state == "sound"
    content = bytearray((laion / "00001.tar").read_bytes())
    content[700] ^= 1
    (laion / "00001.tar").write_bytes(content)
    assert check_shards(folder).state == "damaged" and "00001.tar" in check_shards(folder).said


def test_samples_without_a_file_are_counted(laion, tmp_path):
    write_tar(laion, 5, without_text=2)
    folder = tmp_path / "data/shards/laion"
    manifest, _ = adopt(laion, folder)
    assert manifest.not_read["samples without text"] == 2 and manifest.rows == 24
    assert adopt(laion, folder)[1] == 0


def not_a_tar(path: Path) -> None:
    path.write_bytes(b"no tar" * 300)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def scattered(path: Path) -> None:
    with webdataset.TarWriter(str(path)) as writer:
        for key in ("a", "b", "a"):
            writer.write({"__key__": key, "jpg": jpeg(1)})


def odd_key(path: Path) -> None:
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": "../../etc/x", "jpg": jpeg(1), "txt": b"t"})


@pytest.mark.parametrize("spoil", [not_a_tar, cut_off, scattered, odd_key])
def test_what_cannot_be_a_shard_is_named_and_passed_over(laion, tmp_path, spoil):
    spoil(laion / "00001.tar")
    with pytest.raises(UserError, match=r"1 of 3 tars cannot be adopted.*00001.tar") as error:
        adopt(laion, tmp_path / "strict")
    assert "Remove `adopt`" in error.value.hint
    manifest, _ = adopt(laion, tmp_path / "out", max_rejected=0.5)
    assert manifest.rows == 12 and manifest.not_read[adopted.UNUSABLE] == 1


@pytest.mark.parametrize("listed", ["*.tar", "{00000..00003}.tar", ""])
def test_a_tar_that_is_not_there_counts_as_one_that_cannot_be_adopted(laion, tmp_path, listed):
    (laion / "notes.md").symlink_to("nowhere")  # no tar, so only counted
    if "{" not in listed:  # as git-annex leaves what was not fetched
        (laion / "00003.tar").symlink_to("../.git/annex/objects/x")
    source = str(laion / listed)
    with pytest.raises(UserError, match=r"1 of 4 tars cannot be adopted.*00003\.tar: (a link to nowhere|there is no)"):
        adopt(source, tmp_path / "strict", max_rejected=0.2)
    manifest, _ = adopt(source, tmp_path / "out", max_rejected=0.3)
    assert manifest.not_read[adopted.UNUSABLE] == 1 and ".tar" not in manifest.not_read
    assert len(manifest.parts) == 3 and manifest.not_read.get(".md", 0) == (not listed)


def test_a_key_in_two_tars_is_refused(laion, tmp_path):
    (laion / "00009.tar").write_bytes((laion / "00001.tar").read_bytes())
    with pytest.raises(UserError, match=r"6 keys of .* are in several tars, such as '000010000'"):
        adopt(laion, tmp_path / "out")


def test_what_is_no_tar_or_has_no_such_files(laion, photos, tmp_path):
    with pytest.raises(UserError, match="is read as folder, but only WebDataset tars can be adopted"):
        adopt(photos, tmp_path / "out", SourceOptions(("image",)))
    with pytest.raises(UserError, match="hold no audio"):
        adopt(laion, tmp_path / "out", SourceOptions(("audio",)))
    with pytest.raises(UserError, match="is in"):
        adopt(laion, laion / "shards")


def test_a_corpus_that_was_copied_before_loses_its_copies_and_gets_them_back(laion, tmp_path):
    folder = tmp_path / "data/shards/laion"
    settings = ShardSettings(("image", "text"), 6, "error", 0.0)
    build_shards(laion, folder, settings, Silent(), SourceOptions(("image", "text"), kind="webdataset"))
    assert (folder / "00000.tar").is_file()
    before = state_of(laion)
    adopt(laion, folder)
    assert not list(folder.glob("*.tar")) and state_of(laion) == before
    build_shards(laion, folder, settings, Silent(), SourceOptions(("image", "text"), kind="webdataset"))
    assert (folder / "00000.tar").is_file() and state_of(laion) == before


def test_tars_at_an_address_are_fetched_once_and_left_there(laion, tmp_path, monkeypatch, read, hash_space):
    import fsspec

    monkeypatch.setenv("MCR_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    for path in sorted(laion.glob("*.tar")):
        memory.pipe_file(f"/laion/{path.name}", path.read_bytes())
    folder = tmp_path / "data/shards/laion"
    manifest, count = adopt("memory://laion", folder)
    assert (manifest.rows, count) == (18, 3)
    assert manifest.parts[0].location.address == "memory://laion/00000.tar"
    out = tmp_path / "out"
    encode_corpus(hash_space, "hash", SpaceSpec("hash", "x"), folder, out, EncodeSettings(4, 2, 0.0), Silent())
    assert len(read_embeddings([out / "image"])[0]) == 18
    read.clear()
    assert adopt("memory://laion", folder)[1] == 0 and not read
    assert len(memory.find("/laion")) == 3
    memory.rm("/laion", recursive=True)


def test_tars_of_a_web_server(laion, tmp_path, monkeypatch, read):
    import functools
    import http.server
    import threading

    monkeypatch.setenv("MCR_CACHE", str(tmp_path / "cache"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(laion))
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{server.server_port}/{{00000..00002}}.tar"
        assert adopt(source, tmp_path / "data/shards/laion")[0].rows == 18
        read.clear()
        assert adopt(source, tmp_path / "data/shards/laion")[1] == 0 and not read
        server.shutdown()


def test_leaks_look_at_the_files_of_a_modality_only(laion, tmp_path):
    adopt(laion, tmp_path / "data/shards/laion")
    assert look_at([tmp_path / "data/shards/laion"], tmp_path / "kept", Silent()) == {}
    kept = pq.read_table(next((tmp_path / "kept").rglob("*.parquet")))
    assert set(kept.column("modality").to_pylist()) == {"image", "text"}


def test_settings_that_would_change_the_tars_are_refused():
    assert CorpusSettings(source="x", modalities=("image",), adopt=True).adopt
    for name, value in (("max_side", 64), ("samples_per_shard", 10), ("drop_duplicates", True), ("captions", "all")):
        with pytest.raises(ValueError, match=f"so that {name} has no meaning"):
            CorpusSettings(source="x", modalities=("image",), adopt=True, **{name: value})


def test_the_same_manifest_from_any_folder_time_and_mode(laion, tmp_path):
    adopt(laion, tmp_path / "one/laion")
    for path in laion.glob("*.tar"):
        os.utime(path, (5, 5))
    adopt(laion, tmp_path / "two/laion")
    assert load_manifest(tmp_path / "one/laion") == load_manifest(tmp_path / "two/laion")
