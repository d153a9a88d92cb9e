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


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 5])
def test_asking_for_several_halvings_at_once_changes_nothing_but_the_number_of_questions(at_once):
    asked: list[int] = []

    def entropies(temperatures):
        asked.append(len(temperatures))
        return [math.log(500) / (1 + (0.07 / each) ** 2) for each in temperatures]

    found = solve(Softness(perplexity=37), entropies, 500, "x", at_once)
    assert len(asked) == math.ceil(15 / at_once)  # 15 halvings of log 1e-4 to log 1e2 reach the tolerance
    share = math.log(37) / math.log(500)
    assert found == pytest.approx(0.07 / math.sqrt(1 / share - 1), rel=2e-3)
    assert found == solve(Softness(perplexity=37), entropies, 500, "x")
    with pytest.raises(UserError, match="500 rows cannot spread that far"):
        solve(Softness(perplexity=501), entropies, 500, "x", at_once)
