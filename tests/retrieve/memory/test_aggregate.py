"""The streaming aggregation against float64 numpy, and the memory that it needs."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import pipeline.retrieve.memory.aggregate as module
from pipeline.errors import UserError
from pipeline.retrieve.memory.aggregate import Aggregate, aggregate
from pipeline.retrieve.memory.products import LIFT, Blocks, Products
from tests.makers.devices import DEVICES

# Small and odd on purpose: rows of queries and memory are multiples of neither.
BLOCKS = Blocks(queries=24, memory=37)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(queries, keys, values, temperature):
    """The definition, materialised, in float64."""
    scores = queries.astype(np.float64) @ keys.astype(np.float64).T
    logits = scores / temperature
    top = logits.max(1, keepdims=True)
    exponentials = np.exp(logits - top)
    total = exponentials.sum(1, keepdims=True)
    weights = exponentials / total
    logs = np.log(weights, where=weights > 0, out=np.zeros_like(weights))
    return (
        [weights @ value.astype(np.float64) for value in values],
        (top + np.log(total))[:, 0],
        scores.max(1),
        np.exp(-(weights * logs).sum(1)),
    )


def random_case(rng):
    return unit(rng.normal(size=(50, 16))), unit(rng.normal(size=(200, 16))), 0.05


def clustered_case(rng):
    centres = unit(rng.normal(size=(5, 32)))
    near = lambda count: unit(centres[rng.integers(5, size=count)] + 0.1 * rng.normal(size=(count, 32)))  # noqa: E731
    return near(60), near(150), 0.01


def ties_case(rng):
    keys = np.repeat(unit(rng.normal(size=(3, 8))), 40, axis=0)
    return keys[::30].copy(), keys, 0.01


def opposite_case(rng):
    # The best row comes last, after blocks in which everything is at the far end: the shift must follow by 200.
    query = unit(rng.normal(size=(1, 8)))
    return np.repeat(query, 5, axis=0), np.concatenate([np.repeat(-query, 99, axis=0), query]), 0.01


def memory_of_one_case(rng):
    return unit(rng.normal(size=(7, 8))), unit(rng.normal(size=(1, 8))), 0.01


def all_negative_case(rng):
    direction = unit(rng.normal(size=(1, 16)))
    queries = unit(direction + 0.05 * rng.normal(size=(9, 16)))
    return queries, unit(-direction + 0.05 * rng.normal(size=(90, 16))), 0.01


def unnormalised_case(rng):
    return 5 * rng.normal(size=(30, 12)), 5 * rng.normal(size=(80, 12)), 1.0


def large_scale_case(rng):
    return 100 * unit(rng.normal(size=(30, 12))), 100 * unit(rng.normal(size=(80, 12))), 50.0


CASES = [
    random_case,
    clustered_case,
    ties_case,
    opposite_case,
    memory_of_one_case,
    all_negative_case,
    unnormalised_case,
    large_scale_case,
]


def as_float32(*arrays):
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_keys", [True, False])
@DEVICES
def test_it_equals_the_definition_in_float64(case, with_keys, device):
    rng = np.random.default_rng(7)
    queries, keys, temperature = case(rng)
    queries, keys, wide, narrow = as_float32(
        queries, keys, rng.normal(size=(len(keys), 40)), unit(rng.normal(size=(len(keys), 3)))
    )
    values = [keys, wide, narrow] if with_keys else [wide, narrow]
    tensors = [torch.from_numpy(value).to(device) for value in values]
    key_tensor = tensors[0] if with_keys else torch.from_numpy(keys).to(device)
    found = on_cpu(aggregate(torch.from_numpy(queries).to(device), key_tensor, tensors, temperature, BLOCKS))
    vectors, normaliser, top, neighbours = reference(queries, keys, values, temperature)
    for ours, theirs in zip(found.vectors, vectors, strict=True):
        assert ours.dtype == torch.float32
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-5 * scale)
    scale = max(1.0, np.abs(normaliser).max())
    np.testing.assert_allclose(found.log_normaliser.numpy(), normaliser, rtol=0, atol=1e-6 * scale + 1e-5)
    np.testing.assert_allclose(found.top_score.numpy(), top, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.neighbours.numpy(), neighbours, rtol=1e-3)
    assert not found.missed_mass.any()


def on_cpu(found: Aggregate) -> Aggregate:
    return Aggregate(
        tuple(vectors.cpu() for vectors in found.vectors), found.log_normaliser.cpu(), found.top_score.cpu(),
        found.neighbours.cpu(), found.missed_mass.cpu(),
    )  # fmt: skip


@pytest.mark.cuda
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-4), (torch.bfloat16, 8e-3)])
def test_16_bit_products_on_a_gpu_are_near_the_definition(case, dtype, bound):
    """Against float64 on the same rounded rows: what is left is the rounding of weights and of the result."""
    queries, keys, temperature = case(np.random.default_rng(7))
    held = [torch.from_numpy(rows).to("cuda", dtype) for rows in as_float32(queries, keys)]
    found = on_cpu(aggregate(held[0], held[1], [held[1]], temperature, BLOCKS))
    queries, keys = (rows.double().cpu().numpy() for rows in held)
    vectors, normaliser, *_ = reference(queries, keys, [keys], temperature)
    assert np.abs(found.vectors[0].numpy() - vectors[0]).max() < bound * max(1.0, np.abs(keys).max())
    np.testing.assert_allclose(found.log_normaliser.numpy(), normaliser, atol=1e-3 * max(1.0, np.abs(normaliser).max()))


class LiftedProducts(Products):
    """The shift as 16-bit products on a GPU need it: below the maximum, and following it at once."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lift, self.headroom = LIFT, 0.0


class RoundedWeights(LiftedProducts):
    """Weights as a GPU multiplies them, in float16, with sums in float32."""

    def add(self, out, weights, values):
        super().add(out, weights.half().float(), values)


def test_a_peaked_average_is_as_long_as_what_it_consists_of(monkeypatch):
    # One row has all of the weight, so that its rounding is that of the whole average: with a lift of 10 it is 2.5e-4.
    monkeypatch.setattr(module, "Products", RoundedWeights)
    rows = torch.eye(12).repeat(5, 1)
    found = aggregate(rows[:12], rows, [rows, 3 * rows], 0.01, BLOCKS)
    for scale, vectors in zip((1, 3), found.vectors, strict=True):
        np.testing.assert_allclose(vectors.numpy() / scale, np.eye(12), atol=3e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_keys", [True, False])
def test_the_shift_of_16_bit_products_gives_the_same(case, with_keys, monkeypatch):
    queries, keys, temperature = case(np.random.default_rng(7))
    queries, keys = as_float32(queries, keys)
    memory = torch.from_numpy(keys)
    monkeypatch.setattr(module, "Products", LiftedProducts)
    values = [memory] if with_keys else []
    found = aggregate(torch.from_numpy(queries), memory, values, temperature, BLOCKS)
    vectors, normaliser, _, neighbours = reference(queries, keys, [keys], temperature)
    if with_keys:
        np.testing.assert_allclose(found.vectors[0].numpy(), vectors[0], atol=1e-5 * max(1.0, np.abs(keys).max()))
    scale = max(1.0, np.abs(normaliser).max())
    np.testing.assert_allclose(found.log_normaliser.numpy(), normaliser, rtol=0, atol=1e-6 * scale + 1e-5)
    np.testing.assert_allclose(found.neighbours.numpy(), neighbours, rtol=1e-3)


def test_weights_are_never_denormal(monkeypatch):
    smallest = []

    class Watched(Products):
        def add(self, out, weights, values):
            smallest.append(weights.min().item())
            super().add(out, weights, values)

    monkeypatch.setattr(module, "Products", Watched)
    queries, keys = (torch.from_numpy(rows) for rows in as_float32(*opposite_case(np.random.default_rng(0))[:2]))
    aggregate(queries, keys, [keys], 0.0105)
    assert min(smallest) > torch.finfo(torch.float32).tiny, "products with denormal weights run up to 50 times slower"


def test_a_tiny_temperature_picks_the_nearest_row():
    # Logits reach 1,000, so float32 scores leave weights an error of some 1e-4; a clear winner takes all.
    rng = np.random.default_rng(3)
    queries, keys = as_float32(unit(rng.normal(size=(40, 24))), unit(rng.normal(size=(300, 24))))
    found = aggregate(torch.from_numpy(queries), torch.from_numpy(keys), [torch.from_numpy(keys)], 1e-3, BLOCKS)
    vectors, normaliser, _, neighbours = reference(queries, keys, [keys], 1e-3)
    np.testing.assert_allclose(found.vectors[0].numpy(), vectors[0], atol=1e-4)
    np.testing.assert_allclose(found.log_normaliser.numpy(), normaliser, atol=1e-3)
    np.testing.assert_allclose(found.neighbours.numpy(), neighbours, rtol=1e-2)


def test_the_temperature_matters():
    rng = np.random.default_rng(0)
    queries, keys = (torch.from_numpy(rows) for rows in as_float32(*random_case(rng)[:2]))
    sharp, soft = (aggregate(queries, keys, [keys], temperature).neighbours for temperature in (0.01, 1.0))
    assert (soft > 150).all()
    assert (sharp < 20).all()


def test_the_result_does_not_depend_on_the_blocks():
    rng = np.random.default_rng(1)
    queries, keys = (torch.from_numpy(rows) for rows in as_float32(*clustered_case(rng)[:2]))
    results = [
        aggregate(queries, keys, [keys], 0.01, Blocks(*blocks)).vectors[0] for blocks in ((2, 9), (7, 13), (512, 512))
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=2e-6)


def test_effective_neighbours_of_uniform_and_one_hot_weights():
    queries = torch.eye(4)[:1]
    same = torch.tensor([[0.3, 0.0, 0.0, 1.0]]).repeat(120, 1)
    one = torch.cat([queries, -queries.repeat(99, 1)])
    for values in ([], None):
        for memory, expected in ((same, 120.0), (one, 1.0)):
            found = aggregate(queries, memory, [memory] if values is None else values, 0.01, BLOCKS)
            assert found.neighbours.item() == pytest.approx(expected, rel=1e-4)


def test_16_bit_inputs_on_the_cpu_are_converted_not_multiplied():
    rng = np.random.default_rng(2)
    queries, keys = (torch.from_numpy(rows).half() for rows in as_float32(*random_case(rng)[:2]))
    found = aggregate(queries, keys, [keys], 0.05, BLOCKS)
    vectors, *_ = reference(queries.numpy(), keys.numpy(), [keys.numpy()], 0.05)
    np.testing.assert_allclose(found.vectors[0].numpy(), vectors[0], atol=1e-5)


def test_no_queries_give_no_rows():
    memory = torch.eye(3)
    assert aggregate(memory[:0], memory, [memory], 0.1).vectors[0].shape == (0, 3)


def test_statistics_alone():
    rng = np.random.default_rng(4)
    queries, keys = as_float32(*random_case(rng)[:2])
    expected = reference(queries, keys, [], 0.01)[1]
    found = aggregate(torch.from_numpy(queries), torch.from_numpy(keys), (), 0.01).log_normaliser
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("queries", "keys", "values", "temperature", "says"),
    [
        ((2, 3), (4, 3), [(4, 3)], 0.0, "temperature"),
        ((2, 3), (4, 3), [(4, 3)], math.nan, "temperature"),
        ((2, 3), (0, 3), [], 0.1, "empty"),
        ((2, 3), (4, 5), [], 0.1, "dimensions"),
        ((2, 3), (4, 3), [(5, 3)], 0.1, "rows"),
    ],
)
def test_what_cannot_be_used_is_said(queries, keys, values, temperature, says):
    with pytest.raises(UserError, match=says):
        aggregate(torch.ones(queries), torch.ones(keys), [torch.ones(shape) for shape in values], temperature)


MEASURE = """
import resource, sys, torch
from pipeline.retrieve.memory.aggregate import aggregate
torch.set_num_threads(1)
queries, memory = (torch.nn.functional.normalize(torch.randn(int(n), 32), dim=1) for n in sys.argv[1:3])
warm = torch.randn(2048, 32)
keys = torch.randn(2048, 32); aggregate(warm, keys, [keys], 0.01)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = aggregate(queries, memory, [memory], 0.01)
outputs = sum(t.numel() * 4 for t in (*result.vectors, result.top_score)) * 1.1
# Bytes by which the peak grew beyond the outputs.
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - outputs)
"""


def test_buffers_do_not_grow_with_queries_or_memory():
    # In a process of its own, because a peak is never forgotten. The scores alone would be a gigabyte.
    command = [sys.executable, "-c", MEASURE, "16384", "16384"]
    grown = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 16e6
