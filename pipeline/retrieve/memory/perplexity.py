"""A temperature from a perplexity: how many items a softmax spreads over says the same in every space, a value does not."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.settings import Softness

# Queries on which a temperature is solved, once; the mean entropy of so many is known to about a hundredth.
SAMPLE_QUERIES = 512
LOWEST, HIGHEST = 1e-4, 1e2
TOLERANCE = 5e-4


def solve_temperature(softness: Softness, queries: Tensor, keys: Tensor, seed: int, what: str) -> float:
    """The temperature that `softness` gives, or the one of its perplexity, on a sample of the queries.

    The perplexity of a softmax is the exponential of its entropy; that of a sample is the exponential of the mean
    entropy. It grows with the temperature, so bisection finds it. The result is rounded to three digits, so that the
    last bits of a device's arithmetic do not reach what is made with it.

    Args:
        softness: A temperature or a perplexity.
        queries: [Q, D].
        keys: [N, D].
        seed: Of the sample.
        what: Name of the setting, for the error.

    Raises:
        UserError: The memory has too few rows for the perplexity.
    """
    if softness.temperature is not None:
        return softness.temperature
    chosen = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))[:SAMPLE_QUERIES]
    sample = queries[chosen.sort().values.to(queries.device)]
    return solve(softness, lambda temperature: mean_entropy(sample, keys, temperature), len(keys), what)


def solve(softness: Softness, entropy: Callable[[float], float], rows: int, what: str) -> float:
    """The temperature that `softness` gives, or the one at which `entropy` is that of its perplexity.

    Args:
        softness: A temperature or a perplexity.
        entropy: Mean entropy of the softmaxes at a temperature, in nats.
        rows: What they spread over.
        what: Name of the setting, for the error.

    Raises:
        UserError: There are too few rows for the perplexity.
    """
    if softness.temperature is not None:
        return softness.temperature
    target = math.log(softness.perplexity or 1.0)
    low, high = math.log(LOWEST), math.log(HIGHEST)
    if entropy(HIGHEST) < target:
        raise UserError(
            f"{what}.perplexity is {softness.perplexity:g}, but {rows} rows cannot spread that far.",
            "Lower it, or give the connection more data.",
        )
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        if entropy(math.exp(middle)) < target:
            low = middle
        else:
            high = middle
    return float(f"{math.exp((low + high) / 2):.3g}")


def mean_entropy(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Mean over the queries [Q, D] of the entropy of softmax(queries keys^T / temperature), in nats."""
    return float(aggregate(queries, keys, (), temperature).neighbours.double().log().mean())
