"""Top-k through FAISS against brute force, and the softmax mass that it leaves out."""

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.retrieve.memory import neighbours
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.neighbours import TopK, aggregate_top_k
from tests.makers.devices import NEEDS_FAISS

pytestmark = NEEDS_FAISS
TAU = 0.05


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(5)
    make = lambda count: torch.nn.functional.normalize(torch.randn(count, 24, generator=generator), dim=1)  # noqa: E731
    return make(70), make(400)


def brute_force(queries, keys, chosen):
    """Average over the rows `chosen` [Q, k], and the mass of all others, in float64."""
    exponentials = torch.exp(queries.double() @ keys.double().T / TAU)
    kept = torch.gather(exponentials, 1, chosen)
    weights = kept / kept.sum(1, keepdim=True)
    return (weights[:, :, None] * keys.double()[chosen]).sum(1), 1 - kept.sum(1) / exponentials.sum(1)


def test_flat_top_k_equals_brute_force_and_reports_what_it_misses(rows):
    queries, keys = rows
    found = aggregate_top_k(TopK.flat(keys, 10, threads=1), queries, keys, (keys, keys[:, :7]), TAU)
    chosen = torch.topk(queries.double() @ keys.double().T, 10, 1).indices
    expected, missed = brute_force(queries, keys, chosen)
    torch.testing.assert_close(found.vectors[0].double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.vectors[1].double(), expected[:, :7], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.missed_mass.double(), missed, rtol=0, atol=1e-5)
    assert found.missed_mass.mean() > 0.1, "the case is too easy to show anything"


def test_ivf_reports_the_mass_of_cells_that_it_did_not_visit(rows):
    queries, keys = rows
    build = lambda probes: TopK.ivf(keys, 20, lists=16, probes=probes, threads=1, seed=1)  # noqa: E731
    index = build(2)
    found = aggregate_top_k(index, queries, keys, (keys,), TAU)
    scores, chosen = index.search(queries)
    assert torch.isfinite(scores).all(), "enlarge the cells: this comparison wants k rows for each query"
    expected, missed = brute_force(queries, keys, chosen)
    torch.testing.assert_close(found.vectors[0].double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.missed_mass.double(), missed, rtol=0, atol=1e-5)
    everywhere = aggregate_top_k(build(16), queries, keys, (keys,), TAU)
    assert everywhere.missed_mass.mean() < found.missed_mass.mean()


def test_ivf_training_is_repeatable(rows):
    queries, keys = rows
    first, second = (TopK.ivf(keys, 5, 16, 1, threads=1, seed=3).search(queries) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_fewer_found_than_asked_for_weigh_nothing(rows):
    queries, keys = rows
    index = TopK.ivf(keys, 300, lists=16, probes=1, threads=1, seed=1)
    scores, _ = index.search(queries)
    assert torch.isinf(scores).any()
    found = aggregate_top_k(index, queries, keys, (keys,), TAU)
    assert torch.isfinite(found.vectors[0]).all()
    assert ((found.missed_mass >= 0) & (found.missed_mass < 1)).all()


def test_top_k_of_everything_is_the_exact_aggregation(rows):
    queries, keys = rows
    found = aggregate_top_k(TopK.flat(keys, 10_000, threads=1), queries, keys, (keys,), TAU)
    exact = aggregate(queries, keys, (keys,), TAU)
    torch.testing.assert_close(found.vectors[0], exact.vectors[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.missed_mass.numpy(), 0, atol=1e-5)
    torch.testing.assert_close(found.neighbours, exact.neighbours, rtol=1e-3, atol=0)
    assert torch.equal(found.top_score, exact.top_score)


def test_more_than_a_gpu_finds_is_said_before_anything_is_searched(rows, monkeypatch):
    monkeypatch.setattr(neighbours, "_searches_on_gpu", lambda *_: True)
    keys = rows[1].repeat(6, 1)
    for build in (lambda k: TopK.flat(keys, k, 1), lambda k: TopK.ivf(keys, k, 16, 2, 1, 0)):
        with pytest.raises(UserError, match="2049, and FAISS finds at most 2048") as caught:
            build(2049)
        assert "exact" in caught.value.hint
    monkeypatch.setattr(neighbours, "_searches_on_gpu", lambda *_: False)
    assert TopK.flat(keys, 2049, 1).search(rows[0])[0].shape == (70, 2049), "a CPU finds as many as are asked for"


def test_more_cells_than_rows_is_said(rows):
    _, keys = rows
    with pytest.raises(UserError, match="ivf_lists"):
        TopK.ivf(keys, 5, lists=1000, probes=1, threads=1, seed=0)
