"""The fused kernels: by Triton's interpreter against float64, compiled for cards that are not there, and on a GPU where there is one."""

import json
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.retrieve.memory import fused, tiles
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.fused import Fused, FusedSums
from pipeline.retrieve.memory.products import Blocks
from pipeline.testing.fake_cuda import fake_cuda
from tests.makers.devices import chosen_device

NEEDS_TRITON = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton: it is not installed")
ROOT = Path(__file__).parents[3]
# What numpy 2.5 says to the interpreter of Triton 3.6, whatever the kernel.
ARRAY_OF_ONE = "only 0-dimensional arrays can be converted to Python scalars"
# Shared memory of one program, by compute capability.
HOLDS = {"89": 99 << 10, "90": 227 << 10}


def run(what: str, **environment: str) -> dict[str, list[float]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.retrieve.memory.run_fused", what]
    without = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, capture_output=True, text=True, env=without | environment, cwd=ROOT, check=False)
    if ARRAY_OF_ONE in done.stderr:
        pytest.skip(
            "needs a Triton whose interpreter takes an array of one number for a number, as this numpy does not"
        )
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout)


@NEEDS_TRITON
def test_they_equal_the_definition_in_float64():
    for case, errors in run("interpret", TRITON_INTERPRET="1", OMP_NUM_THREADS="1").items():
        *vectors, normaliser, top, entropy = errors
        assert max(vectors) < 2e-4, case  # half a unit in the last of 11 bits is 2.4e-4 of a single weight
        assert normaliser < 1e-6 and top < 1e-6 and entropy < 1e-2, (case, errors)


@NEEDS_TRITON
def test_they_compile_to_tensor_cores_and_fit():
    for name, (shared, multiplied) in run("compile").items():
        kernel, card, _ = name.split()
        assert shared <= HOLDS[card], name
        assert bool(multiplied) == (kernel == "weigh"), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_devices_and_types_of_what_is_around_them(dtype, monkeypatch):
    launched: list[tuple] = []
    monkeypatch.setattr(fused, "processors", lambda device: 132)
    monkeypatch.setattr(fused, "_launch", lambda kernel, *arguments, **_: launched.append(arguments))
    with fake_cuda():
        queries, keys, other = (torch.empty(rows, 16, dtype=dtype, device="cuda") for rows in (50, 90, 90))
        vectors = [torch.empty(50, 16, device="cuda") for _ in range(2)]
        statistics = list(torch.empty(3, 50, device="cuda"))
        sums = FusedSums(Fused(tiles.TILES[1], Blocks(50, 90), queries, True), queries, 0.1, vectors, statistics, None)
        sums.add(keys, [keys, other.float()])
        sums.close()
    assert len(launched) == 5
    given = [each for arguments in launched for each in arguments if isinstance(each, torch.Tensor)]
    assert {each.device.type for each in given} == {"cuda"}


def test_kernels_start_on_the_gpu_of_their_tensors(monkeypatch):
    chosen, started = chosen_device(monkeypatch), []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *_, **__: started.append((grid, chosen[0]))

    with fake_cuda():
        fused._launch(Kernel(), 7, object(), torch.empty(3, device="cuda:1"), 5, ROWS=2)
    assert started == [((7,), 1)] and chosen == [0]


@pytest.mark.parametrize("problem", [RuntimeError("out of resource: shared memory"), ImportError("no triton"), None])
def test_where_they_cannot_be_used_the_log_says_so(problem, monkeypatch, caplog):
    def check(*_):
        if problem:
            raise problem
        return False

    monkeypatch.setattr(tiles, "is_right", check)
    with caplog.at_level(logging.WARNING):
        assert tiles._tile_on.__wrapped__(torch.device("cuda"), torch.float16) is None
    assert (str(problem) if problem else "its results are wrong") in caplog.text


def test_a_full_device_is_not_a_reason_for_plain_torch(monkeypatch):
    def check(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiles, "is_right", check)
    with pytest.raises(torch.OutOfMemoryError):
        tiles._tile_on.__wrapped__(torch.device("cuda"), torch.float16)


def rows(count: int, seed: int, dtype: torch.dtype, width: int = 512) -> torch.Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return normalize(drawn, dim=1).to("cuda", dtype)


@pytest.mark.cuda
@pytest.mark.parametrize("width", [512, 72])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 5e-5), (torch.bfloat16, 5e-4)])
def test_on_a_gpu_they_are_used_exact_and_equal_to_the_bit(dtype, bound, width):
    # Two blocks of queries and three of the memory, none of them whole.
    queries, keys = rows(16384 + 77, 1, dtype, width), rows(2 * 16384 + 1001, 2, dtype, width)
    assert tiles.tile_of(queries, dtype)
    found, again = (aggregate(queries, keys, (keys,), 0.01) for _ in range(2))
    for first, second in zip((*found.vectors, found.log_normaliser, found.neighbours),
                             (*again.vectors, again.log_normaliser, again.neighbours), strict=True):  # fmt: skip
        assert torch.equal(first, second)
    few = torch.cat([queries[:64], queries[-64:]])
    logits = few.double() @ keys.double().T / 0.01
    weights = torch.softmax(logits, 1)
    ours = torch.cat([found.vectors[0][:64], found.vectors[0][-64:]])
    assert (ours - weights @ keys.double()).abs().max() < bound
    normaliser = torch.cat([found.log_normaliser[:64], found.log_normaliser[-64:]])
    assert (normaliser - logits.logsumexp(1)).abs().max() < 1e-4


@pytest.mark.cuda
def test_on_a_gpu_every_tile_that_it_holdsis_right():
    for dtype in (torch.float16, torch.bfloat16):
        assert tiles.is_right(tiles.TILES[1], torch.device("cuda"), dtype)
        assert tiles.is_right(tiles.TILES[2], torch.device("cuda"), dtype)
