"""Features that are compared between two memories: by their definition, however many rows are centred at a time."""

import numpy as np
import pytest
import torch

from pipeline.retrieve import profiles


def definition(rows: np.ndarray) -> np.ndarray:
    without = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
    return without / np.linalg.norm(without, axis=1, keepdims=True)


@pytest.mark.parametrize("own_first", [True, False])
def test_features_are_both_halves_centred_and_do_not_depend_on_the_block(monkeypatch, own_first):
    draw = torch.Generator().manual_seed(0)
    samples, told = torch.randn(230, 12, generator=draw) + 1, torch.randn(230, 7, generator=draw) - 2
    whole = profiles.features(own_first, samples, told)
    halves = [definition(rows.numpy()) for rows in (samples, told)]
    np.testing.assert_allclose(whole, np.concatenate(halves if own_first else halves[::-1], 1), atol=1e-6)
    monkeypatch.setattr(profiles, "BLOCK_ROWS", 50)
    assert torch.equal(profiles.features(own_first, samples, told), whole)
    assert torch.equal(profiles.centred(told), whole[:, 12:] if own_first else whole[:, :7])
