"""Losses against slow float64 references, closed forms, and autograd of the textbook formula."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from pipeline.train.losses import intra_alignment, symmetric_info_nce


def reference_info_nce(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    total = 0.0
    batch = len(first)
    for anchors, others in ((first, second), (second, first)):
        for i in range(batch):
            scores = [float(anchors[i] @ others[j]) / temperature for j in range(batch)]
            peak = max(scores)
            total += peak + math.log(sum(math.exp(score - peak) for score in scores)) - scores[i]
    return total / (2 * batch)


def units(batch: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(batch, width, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("temperature", [0.01, 0.05, 1.0])
@pytest.mark.parametrize(("batch", "width"), [(1, 3), (2, 5), (17, 8), (33, 4)])
def test_info_nce_equals_the_slow_reference(batch: int, width: int, temperature: float) -> None:
    first, second = units(batch, width, batch), units(batch, width, batch + 100)
    expected = reference_info_nce(first.numpy(), second.numpy(), temperature)
    assert symmetric_info_nce(first, second, temperature).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)
    single = symmetric_info_nce(first.float(), second.float(), temperature).item()
    assert single == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.07])
def test_info_nce_gradient_equals_autograd_of_the_textbook_formula(temperature: float) -> None:
    first, second = (units(19, 6, seed).requires_grad_() for seed in (1, 2))
    scores = first @ second.T / temperature
    labels = torch.arange(19)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = torch.autograd.grad(
        3.0 * (cross_entropy(scores, labels) + cross_entropy(scores.T, labels)) / 2, [first, second]
    )
    found = torch.autograd.grad(3.0 * symmetric_info_nce(first, second, temperature), [first, second])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_info_nce_passes_gradcheck() -> None:
    first, second = (units(5, 4, seed).requires_grad_() for seed in (3, 4))
    assert torch.autograd.gradcheck(lambda a, b: symmetric_info_nce(a, b, 0.1), (first, second))


def test_info_nce_closed_forms() -> None:
    one = units(1, 8, 0)
    assert symmetric_info_nce(one, units(1, 8, 1), 0.01).item() == pytest.approx(0)
    same = one.expand(64, 8)
    assert symmetric_info_nce(same, same, 0.01).item() == pytest.approx(math.log(64))
    axes = torch.eye(16, dtype=torch.float64)
    separated = math.log(1 + 15 * math.exp(-1 / 0.1))
    assert symmetric_info_nce(axes, axes, 0.1).item() == pytest.approx(separated, rel=1e-9)
    # Every positive is opposite, so exp(positive) underflows in float32: the loss must still be right.
    opposite = symmetric_info_nce(axes.float(), -axes.float(), 0.01).item()
    assert opposite == pytest.approx(100 + math.log(15), rel=1e-6)


def test_intra_alignment_equals_the_slow_reference() -> None:
    arrays = [units(9, 5, seed) for seed in range(4)]
    distance = [
        [
            math.sqrt(sum(float(x - y) ** 2 for x, y in zip(a, b, strict=True)))
            for a, b in zip(first, second, strict=True)
        ]
        for first, second in ((arrays[0], arrays[1]), (arrays[2], arrays[3]))
    ]
    pairs = [(arrays[0], arrays[1]), (arrays[2], arrays[3])]
    expected = 0.5 * sum(sum(row) / 9 for row in distance)
    assert intra_alignment(pairs, "l2").item() == pytest.approx(expected, rel=1e-12)
    squared = 0.5 * sum(sum(value**2 for value in row) / 9 for row in distance)
    assert intra_alignment(pairs, "squared").item() == pytest.approx(squared, rel=1e-12)


@pytest.mark.parametrize("norm", ["l2", "squared"])
def test_intra_alignment_of_equal_rows_is_zero_with_finite_gradient(norm: str) -> None:
    rows = units(4, 3, 0).requires_grad_()
    loss = intra_alignment([(rows, rows.detach().clone())], norm)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, rows)[0].isfinite().all()
