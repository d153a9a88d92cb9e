"""Parts are made by functions that travel: worker processes make the same bytes.

Finding out which to make grows with their number and no faster; `benchmarks/scale/many_parts.py` takes the time.
"""

import cProfile
import pstats
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.scale.many_parts import encode, make_corpus, planning
from pipeline.encode import job
from pipeline.encode.job import encode_corpus
from pipeline.encode.part import EncodeSettings
from pipeline.engines.local import LocalCrew
from pipeline.engines.pool import Pool
from pipeline.engines.supervised import Limits
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec, load_space
from pipeline.store import run_parts
from pipeline.store.parts.run import ALONE, Execution
from tests.stages.tools.tools_project import make_project


@pytest.fixture
def processes() -> Iterator[Execution]:
    """Two, which compute with as many threads as this one: another number would round otherwise."""
    pool = Pool(LocalCrew([{}] * 2, Threads(torch.get_num_threads()), Limits(300)))
    yield Execution(pool)
    pool.close()


class Threads:
    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> None:
        torch.set_num_threads(self.count)


def test_processes_make_the_same_shards_and_embeddings(tmp_path, tree_bytes, processes):
    project = make_project(tmp_path)
    settings = ShardSettings(("image", "text"), 10, "error", 0.0)
    build_shards(project / "data/raw/photos", tmp_path / "one/photos", settings, Silent())
    build_shards(project / "data/raw/photos", tmp_path / "two/photos", settings, Silent(), execution=processes)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")

    spec = SpaceSpec("compact", str(project / "data/spaces/clip"))
    space, shards = load_space(spec), tmp_path / "one/photos"
    for name, execution in (("here", ALONE), ("there", processes)):
        made = encode_corpus(
            space, "clip", spec, shards, tmp_path / name, EncodeSettings(4, 2, 0.0), Silent(), execution
        )
        assert {modality: manifest.rows for modality, (manifest, _) in made.items()} == {"image": 25, "text": 25}
    assert tree_bytes(tmp_path / "here") == tree_bytes(tmp_path / "there")


def calls_of(function, *arguments) -> int:
    """Function calls, which are the same on every machine, however busy it is."""
    profile = cProfile.Profile()
    profile.runcall(function, *arguments)
    return pstats.Stats(profile).total_calls


def test_planning_and_a_run_with_nothing_to_do_are_linear(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(job, "run_parts", run_parts)  # `planning` replaces it
    counts = {}
    for parts in (30, 300):
        folder = tmp_path / str(parts)
        make_corpus(folder / "shards/c", parts)
        (folder / ".dvc").mkdir()
        calls_of(planning, folder)
        counts["planning", parts] = calls_of(planning, folder)
        job.run_parts = run_parts
        assert encode(folder) == parts
        counts["no-op", parts] = calls_of(encode, folder)
    for step in ("planning", "no-op"):
        assert counts[step, 300] / counts[step, 30] < 10**1.05, counts
