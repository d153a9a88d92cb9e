"""The temperature of a perplexity: against the entropy itself, in float64."""

import math

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.retrieve.memory.perplexity import solve, solve_temperature
from pipeline.retrieve.settings import Softness


def perplexity(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> float:
    logits = queries.double().numpy() @ keys.double().numpy().T / temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return math.exp(-(weights * np.log(weights + 1e-300)).sum(1).mean())


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    make = lambda count: torch.nn.functional.normalize(torch.randn(count, 16, generator=generator), dim=1)  # noqa: E731
    return make(200), make(300)


@pytest.mark.parametrize("target", [1.5, 15, 40, 250])
def test_the_solved_temperature_has_the_perplexity(rows, target):
    queries, keys = rows
    solved = solve_temperature(Softness(perplexity=target), queries, keys, 0, "x")
    assert perplexity(queries, keys, solved) == pytest.approx(target, rel=0.02)
    assert solved == float(f"{solved:.3g}")


def test_a_temperature_is_taken_as_it_is(rows):
    assert solve_temperature(Softness(temperature=0.0312345), *rows, 0, "x") == 0.0312345


def test_a_perplexity_beyond_the_memory_is_refused(rows):
    queries, keys = rows
    with pytest.raises(UserError, match="perplexity is 400, but 300 rows"):
        solve_temperature(Softness(perplexity=400), queries, keys, 0, "x")


def test_the_sample_depends_on_the_seed_alone(rows):
    queries, keys = torch.cat([rows[0]] * 4), rows[1]  # More queries than the sample takes.
    queries = queries * torch.linspace(0.2, 3, len(queries))[:, None]
    solve = lambda seed: solve_temperature(Softness(perplexity=15), queries, keys, seed, "x")  # noqa: E731
    assert solve(0) == solve(0)
    assert len({solve(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("given", [{}, {"temperature": 0.1, "perplexity": 3.0}])
def test_one_of_both_is_given(given):
    with pytest.raises(ValueError, match="either"):
        Softness(**given)


def halved(entropy, perplexity: float) -> float:
    """By halving alone."""
    low, high = math.log(1e-4), math.log(1e2)
    while high - low > 5e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(math.exp(middle)) < math.log(perplexity) else (low, middle)
    return float(f"{math.exp((low + high) / 2):.3g}")


def smooth(temperature: float, middle: float = 0.07, steepness: float = 2.0, rows: int = 500) -> float:
    return math.log(rows) / (1 + (middle / temperature) ** steepness)


def stepped(temperature: float) -> float:
    return math.log(500) * (math.floor(4 * math.log(temperature)) + 40) / 60


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize(
    "entropy",
    [
        smooth,
        stepped,
        lambda temperature: smooth(temperature, 2e-4),
        lambda temperature: smooth(temperature, 60.0),
        lambda temperature: smooth(temperature, 0.5, 0.2),
        lambda temperature: smooth(temperature, 0.01, 40.0),
    ],
)
@pytest.mark.parametrize("perplexity", [1.0001, 2, 15, 37, 400])
def test_it_is_what_halving_finds(entropy, perplexity, at_once):
    if entropy(1e2) < math.log(perplexity):
        pytest.skip("cannot spread that far")
    asked: list[float] = []

    def entropies(temperatures):
        asked.extend(temperatures)
        return [entropy(each) for each in temperatures]

    assert solve(Softness(perplexity=perplexity), entropies, 500, "x", at_once) == halved(entropy, perplexity)
    assert len(set(asked)) == len(asked) < 60


@pytest.mark.parametrize(("at_once", "questions", "temperatures"), [(1, 6, 9), (3, 4, 13)])
def test_a_smooth_entropy_is_asked_for_a_few_times(at_once, questions, temperatures):
    asked: list[int] = []

    def entropies(tried):
        asked.append(len(tried))
        return [smooth(each) for each in tried]

    solve(Softness(perplexity=37), entropies, 500, "x", at_once)
    assert (len(asked), sum(asked)) <= (questions, temperatures)


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_no_temperature_reaches_is_refused(at_once):
    with pytest.raises(UserError, match="500 rows cannot spread that far"):
        solve(Softness(perplexity=501), lambda tried: [smooth(each) for each in tried], 500, "x", at_once)
