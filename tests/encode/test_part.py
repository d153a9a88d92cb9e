"""Parts are made by functions that travel: worker processes make the same bytes."""

from collections.abc import Iterator

import pytest
import torch

from pipeline.encode.job import encode_corpus
from pipeline.encode.part import EncodeSettings
from pipeline.engines.local import LocalCrew
from pipeline.engines.pool import Pool
from pipeline.engines.supervised import Limits
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec, load_space
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
