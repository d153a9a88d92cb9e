"""A temperature from a perplexity: how many items a softmax spreads over says the same in every space, a value does not."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.settings import Softness

# Queries on which a temperature is solved, once; the mean entropy of so many is known to about a hundredth.
SAMPLE_QUERIES = 512
LOWEST, HIGHEST = 1e-4, 1e2
TOLERANCE = 5e-4
# Halvings before the slope is followed, and entropies after which it is given up.
_HALVINGS, _PATIENCE = 3, 24


def solve_temperature(softness: Softness, queries: Tensor, keys: Tensor, seed: int, what: str) -> float:
    """The temperature that `softness` gives, or the one of its perplexity, on a sample of the queries.

    The perplexity of a softmax is the exponential of its entropy; that of a sample is the exponential of the mean
    entropy, which grows with the temperature. The result is rounded to three digits, so that the
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

    It is the one that halving the range would find: the middle of one of 2^15 steps, between temperatures of less and of enough
    entropy. But a question may be a pass over millions of texts, so after three halvings the next ones are about the two ends of the
    step that the entropies known so far point to, which for a smooth function is soon the right one.

    Args:
        softness: A temperature or a perplexity.
        entropies: Mean entropy of the softmaxes at each of several temperatures, in nats.
        rows: What they spread over.
        what: Name of the setting, for the error.
        at_once: Halvings that are asked for together, as 2^n - 1 temperatures. The result does not depend on it.

    Raises:
        UserError: There are too few rows for the perplexity.
    """
    if softness.temperature is not None:
        return softness.temperature
    target, steps = math.log(softness.perplexity or 1.0), _steps()
    last = len(steps) - 1
    known: dict[int, float] = {}
    below, above = 0, last
    while above - below > 1 or (above == last and last not in known):
        asked = _next(known, below, above, last, target, at_once)
        known |= dict(zip(asked, entropies([math.exp(steps[place]) for place in asked]), strict=True))
        if known.get(last, target) < target:
            raise UserError(
                f"{what}.perplexity is {softness.perplexity:g}, but {rows} rows cannot spread that far.",
                "Lower it, or give the connection more data.",
            )
        below = max((place for place, entropy in known.items() if entropy < target), default=0)
        above = min((place for place, entropy in known.items() if entropy >= target), default=last)
    end = max(above, 1)
    return float(f"{math.exp((steps[end - 1] + steps[end]) / 2):.3g}")


def _steps() -> list[float]:
    """Logarithms of the temperatures between which the solution may lie: the middles of middles, to the last bit."""
    found = [math.log(LOWEST), math.log(HIGHEST)]
    while found[1] - found[0] > TOLERANCE:
        middles = [(low + high) / 2 for low, high in pairwise(found)]
        found = [*chain.from_iterable(zip(found, middles, strict=False)), found[-1]]
    return found


def _next(known: Mapping[int, float], below: int, above: int, last: int, target: float, at_once: int) -> list[int]:
    """Which places to ask about, given entropies by place and those between which the target lies."""
    if above - below > last >> _HALVINGS or len(known) > _PATIENCE:
        return _middles(below, above, at_once)
    if unknown := [place for place in (below, above) if place not in known]:
        return unknown
    first, second = sorted(known, key=lambda place: abs(known[place] - target))[:2]
    slope = (known[second] - known[first]) / (second - first)
    guess = math.floor(first + (target - known[first]) / slope) if slope else (below + above) // 2
    step = min(max(guess, below), above - 1)
    return [place for place in (step, step + 1) if below < place < above]


def _middles(low: int, high: int, depth: int) -> list[int]:
    """Every middle that `depth` halvings may come to, whichever way they go."""
    middle = (low + high) // 2
    if not depth or middle == low:
        return []
    return [middle, *_middles(low, middle, depth - 1), *_middles(middle, high, depth - 1)]


def mean_entropy(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Mean over the queries [Q, D] of the entropy of softmax(queries keys^T / temperature), in nats."""
    return float(aggregate(queries, keys, (), temperature).neighbours.double().log().mean())
