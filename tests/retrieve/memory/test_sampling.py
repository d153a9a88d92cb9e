"""Draws from a softmax over a whole memory: against the exact probabilities, in any blocks."""

import numpy as np
import pytest
import torch

from pipeline.retrieve.memory.neighbours import TopK
from pipeline.retrieve.memory.products import Blocks
from pipeline.retrieve.memory.sampling import pick, sample, sample_top_k
from tests.makers.devices import DEVICES, NEEDS_FAISS

TAU, DRAWS = 1.5, 20_000


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 6, generator=generator), torch.randn(45, 6, generator=generator)


def probabilities(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> np.ndarray:
    logits = queries.double().numpy() @ keys.double().numpy().T / temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def chi_square(drawn: np.ndarray, expected: np.ndarray) -> float:
    """Pearson's statistic in standard deviations above its mean, rare cells put together."""
    counts, expected = np.bincount(drawn, minlength=len(expected)), expected * len(drawn)
    rare = expected < 10
    counts, expected = (np.append(values[~rare], values[rare].sum()) for values in (counts, expected))
    keep = expected > 0
    degrees = keep.sum() - 1
    return float((np.square(counts - expected)[keep] / expected[keep]).sum() - degrees) / np.sqrt(2 * degrees)


@DEVICES
@pytest.mark.parametrize("blocks", [Blocks(2, 4), Blocks(3, 7), Blocks(1, 1), Blocks(64, 64)], ids=str)
def test_frequencies_are_the_softmax_whatever_the_blocks(rows, blocks, device):
    queries, keys = rows
    generator = torch.Generator(device).manual_seed(1)
    found = sample(queries.to(device), keys.to(device), TAU, DRAWS, generator, blocks)
    expected = probabilities(queries, keys, TAU)
    for query in range(3):
        assert chi_square(found.rows[query].cpu().numpy(), expected[query]) < 4
        # A wrong temperature is seen at once, so the bound has teeth.
        assert chi_square(found.rows[query].cpu().numpy(), probabilities(queries, keys, 1.7)[query]) > 10
    entropy = -(expected * np.log(expected)).sum(1)
    np.testing.assert_allclose(found.neighbours.cpu(), np.exp(entropy), rtol=1e-5)
    np.testing.assert_allclose(found.top_score.cpu(), (queries @ keys.T).amax(1), rtol=1e-6)
    assert not found.missed_mass.any()


def test_draws_of_one_query_are_independent(rows):
    queries, keys = rows
    drawn = sample(queries[:1], keys, TAU, DRAWS, torch.Generator().manual_seed(2), Blocks(4, 8)).rows[0].numpy()
    expected = probabilities(queries, keys, TAU)[0]
    same = float((drawn[::2] == drawn[1::2]).mean())
    assert abs(same - np.square(expected).sum()) < 0.02


def test_in_one_block_a_draw_is_the_inverse_of_the_cumulative_probabilities(rows):
    queries, keys = rows
    found = sample(queries, keys, TAU, 50, torch.Generator().manual_seed(3), Blocks(8, 64))
    uniform = torch.rand(3, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()
    cumulative = probabilities(queries, keys, TAU).cumsum(1)
    expected = [np.searchsorted(cumulative[query], uniform[query], side="right") for query in range(3)]
    np.testing.assert_array_equal(found.rows, expected)


def test_scores_far_from_zero_neither_overflow_nor_vanish():
    queries = torch.tensor([[1.0]])
    keys = torch.tensor([[-3000.0], [1000.0], [999.0], [-3000.0], [1000.0]])
    drawn = sample(queries, keys, 1.0, 4000, torch.Generator().manual_seed(4), Blocks(1, 2)).rows[0]
    shares = torch.bincount(drawn, minlength=5) / 4000
    weight = 1 / (2 + np.exp(-1))
    np.testing.assert_allclose(shares, [0, weight, weight * np.exp(-1), 0, weight], atol=0.03)


def test_pick_skips_items_without_weight_and_stays_inside():
    cumulative = torch.tensor([[0.0, 0.5, 0.5, 2.0]], dtype=torch.float64)
    uniform = torch.tensor([[0.0, 0.2499, 0.25, 1 - 2**-53]], dtype=torch.float64)
    assert pick(cumulative, uniform).tolist() == [[1, 1, 3, 3]]


@NEEDS_FAISS
def test_top_k_draws_among_the_k_found_and_reports_what_it_misses(rows):
    queries, keys = rows
    index = TopK.flat(keys, 5, 1)
    found = sample_top_k(index, queries, keys, TAU, DRAWS, torch.Generator().manual_seed(5))
    expected = probabilities(queries, keys, TAU)
    kept = np.zeros_like(expected)
    best = np.argsort(-expected, axis=1)[:, :5]
    np.put_along_axis(kept, best, np.take_along_axis(expected, best, 1), 1)
    np.testing.assert_allclose(found.missed_mass, 1 - kept.sum(1), atol=1e-5)
    for query in range(3):
        drawn = found.rows[query].numpy()
        assert set(drawn) <= set(best[query])
        assert chi_square(drawn, kept[query] / kept[query].sum()) < 4
