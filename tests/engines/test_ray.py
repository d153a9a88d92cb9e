"""The same through Ray, on a cluster of two nodes on this machine: `make test-slow` with the extra `ray` installed."""

import logging
import os
import secrets
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from pipeline.engines import ray_cluster
from pipeline.engines.pool import Pool
from pipeline.engines.supervised import Limits
from pipeline.errors import UserError
from pipeline.store.parts.run import ALONE
from tests.engines.test_local import build, content
from tests.engines.works import Divisible, two_ahead, works

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: the extra `ray` is not installed"),
]


@pytest.fixture(scope="module", autouse=True)
def own_token() -> None:
    """Ray would leave one in the home folder."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with a core each; this process is connected to them."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray_cluster, "SILENCE", 10.0)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    ray.init(address=found.address, logging_level="error", log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def crew(seconds: float = 60, memory: int = 0, processes: int | str = "auto") -> ray_cluster.RayCrew:
    return ray_cluster.RayCrew("", "cpu", processes, 1, bool, Limits(seconds, memory))


class LosingANode:
    """Takes a node away without a word when four parts are there."""

    def __init__(self, pool: Pool, cluster: Any) -> None:
        self.pool, self.cluster = pool, cluster

    def make(self, *arguments: object) -> Iterator[object]:
        for number, record in enumerate(self.pool.make(*arguments), 1):
            yield record
            if number == 4:
                (node,) = self.cluster.worker_nodes
                self.cluster.remove_node(node, allow_graceful=False)


def test_a_lost_node_costs_time_and_nothing_else(tmp_path, cluster, caplog):
    build(tmp_path / "here", works(24), ALONE.engine)
    pool = Pool(crew())
    assert pool._crew.size == 2
    try:
        build(tmp_path / "there", works(24, seconds=0.1), LosingANode(pool, cluster), two_ahead)
    finally:
        pool.close()
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert "lost" in caplog.text or "did not answer" in caplog.text


def test_sick_samples_are_reported_by_key_and_passed_over(tmp_path, cluster, caplog):
    sick = {"p0s1": "crash", "p2s0": "hang", "p3s2": "hog"}
    pool = Pool(crew(seconds=15, memory=200 << 20))
    try:
        with caplog.at_level(logging.WARNING):
            made = build(tmp_path, works(5, kind=Divisible, **sick), pool, two_ahead, 0.5)
    finally:
        pool.close()
    reasons = {failure.key: failure.message for part in made.parts for failure in part.rejected}
    assert set(reasons) == {f"{key} {word}" for key, word in sick.items()}
    for key, word in {"p0s1": "SIGSEGV", "p2s0": "15 s", "p3s2": "more than 200 MB"}.items():
        assert word in reasons[f"{key} {sick[key]}"]
    assert made.rows == 25 - len(sick)


def test_a_cluster_without_what_is_needed_is_told_at_once(cluster):
    with pytest.raises(UserError, match="no GPU"):
        _ = ray_cluster.RayCrew("", "cuda", "auto", 1, bool, Limits(60)).size
    with pytest.raises(UserError, match="no machine with 2 cores"):
        _ = ray_cluster.RayCrew("", "cpu", "auto", 2, bool, Limits(60)).size
    assert crew(processes=1).size == 1
