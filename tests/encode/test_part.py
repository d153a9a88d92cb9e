"""Parts are made by functions that travel: another process makes the same bytes."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from pipeline.encode.part import EncodedShard, EncodeSettings, Encoding
from pipeline.progress import Progress, Silent
from pipeline.shard import build
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec, load_space
from pipeline.store import EMBEDDINGS, PartFolder, Source, Work, run_parts
from pipeline.store.parts.work import Record, write_part
from pipeline.store.shards import open_shards
from tests.stages.tools.tools_project import make_project


def by_processes(folder: Path, works: Sequence[Work], progress: Progress) -> Iterator[Record]:
    """An engine of two processes, whose records come in the opposite order."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield from reversed(
            [future.result() for future in [pool.submit(write_part, folder, w, Silent()) for w in works]]
        )


def test_processes_make_the_same_shards_and_embeddings(tmp_path, monkeypatch, tree_bytes):
    project = make_project(tmp_path)
    settings = ShardSettings(("image", "text"), 10, "error", 0.0)
    build_shards(project / "data/raw/photos", tmp_path / "one/photos", settings, Silent())
    run = lambda *arguments, **more: run_parts(*arguments, engine=by_processes, **more)  # noqa: E731
    monkeypatch.setattr(build, "run_parts", run)
    build_shards(project / "data/raw/photos", tmp_path / "two/photos", settings, Silent())
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")

    spec = SpaceSpec("compact", str(project / "data/spaces/clip"))
    for name, loaded in (("here", load_space(spec)), ("there", None)):
        how = EncodeSettings(4, 2, 0.0)
        encoding = Encoding(spec, "image", tmp_path / "one/photos", how, {"space": "clip"}, loaded)
        works = [
            Work(f"part-{shard.name[:5]}.parquet", Source(shard.sha256), EncodedShard(encoding, shard), shard.rows)
            for shard in open_shards(tmp_path / "one/photos").parts
        ]
        with PartFolder(tmp_path / name, EMBEDDINGS, {"space": "clip"}) as parts:
            run_parts(parts, works, "encode", "samples", Silent(), encoding.reading_ahead if loaded else by_processes)
            assert parts.finish(0.0).rows == 25
    assert tree_bytes(tmp_path / "here") == tree_bytes(tmp_path / "there")
