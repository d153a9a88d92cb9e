"""A temperature from a perplexity: how many items a softmax spreads over says the same in every space, a value does not."""

import math
from collections.abc import Callable, Sequence

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
    return solve(softness, lambda tried: [mean_entropy(sample, keys, each) for each in tried], len(keys), what)


def solve(
    softness: Softness, entropies: Callable[[Sequence[float]], list[float]], rows: int, what: str, at_once: int = 1
) -> float:
    """The temperature that `softness` gives, or the one at which the entropy is that of its perplexity.

    Args:
        softness: A temperature or a perplexity.
        entropies: Mean entropy of the softmaxes at each of several temperatures, in nats.
        rows: What they spread over.
        what: Name of the setting, for the error.
        at_once: Halvings of the bisection that are asked for together, as 2^n - 1 temperatures: where a question is a pass over
            millions of texts, four halvings take one pass and not four. The result does not depend on it.

    Raises:
        UserError: There are too few rows for the perplexity.
    """
    if softness.temperature is not None:
        return softness.temperature
    target = math.log(softness.perplexity or 1.0)
    low, high = math.log(LOWEST), math.log(HIGHEST)
    known: dict[float, float] = {}
    while high - low > TOLERANCE:
        asked = [*_middles(low, high, at_once), *(() if known else (math.log(HIGHEST),))]
        known |= dict(zip(asked, entropies([math.exp(each) for each in asked]), strict=True))
        if known[math.log(HIGHEST)] < target:
            raise UserError(
                f"{what}.perplexity is {softness.perplexity:g}, but {rows} rows cannot spread that far.",
                "Lower it, or give the connection more data.",
            )
        while high - low > TOLERANCE and (middle := (low + high) / 2) in known:
            low, high = (middle, high) if known[middle] < target else (low, middle)
    return float(f"{math.exp((low + high) / 2):.3g}")


def _middles(low: float, high: float, depth: int) -> list[float]:
    """Every middle that `depth` halvings may come to, whichever way they go."""
    if not depth:
        return []
    middle = (low + high) / 2
    return [middle, *_middles(low, middle, depth - 1), *_middles(middle, high, depth - 1)]


def mean_entropy(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Mean over the queries [Q, D] of the entropy of softmax(queries keys^T / temperature), in nats."""
    return float(aggregate(queries, keys, (), temperature).neighbours.double().log().mean())
