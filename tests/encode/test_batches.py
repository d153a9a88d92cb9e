"""Batches: the same whether they are stacked as they are needed, or ahead into memory that a GPU copies from."""

from pathlib import Path

import pytest
import torch

from pipeline.encode.batches import stacked_batches
from pipeline.encode.prepare import Chunk
from pipeline.store import Failure
from pipeline.store.manifest import Part

SHARD = Part("00000.tar", 1, "0" * 64, "0" * 64, "s")


def chunks(*lengths: int) -> list[Chunk]:
    """Chunks of these lengths, in which every third sample is a reject."""
    found, number = [], 0
    for length in lengths:
        samples = []
        for _ in range(length):
            bad = Failure(f"{number}", "decode", "SampleError", "x")
            samples.append((f"{number}", bad if number % 3 == 1 else torch.full((2, 3), number, dtype=torch.uint8)))
            number += 1
        found.append(Chunk(SHARD, samples, 0.5, 0.25, transparent=1))
    return found


@pytest.fixture
def unpinned(monkeypatch):
    """torch pins memory only where there is a GPU."""
    asked = []
    empty = torch.empty

    def spy(*arguments, pin_memory=False, **others):
        asked.append(pin_memory)
        return empty(*arguments, **others)

    monkeypatch.setattr(torch, "empty", spy)
    return asked


@pytest.mark.parametrize("lengths", [(), (1,), (2,), (16, 16, 5), (0, 3), (40,), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_sample_is_in_one_batch_or_a_reject(lengths, device, unpinned):
    made = chunks(*lengths)
    batches = list(stacked_batches(iter(made), 4, device))
    keys = [key for batch in batches for key in batch.keys]
    everything = [key for chunk in made for key, _ in chunk.samples]
    assert keys == [key for key in everything if int(key) % 3 != 1]
    assert [failure.key for batch in batches for failure in batch.rejected] == [
        k for k in everything if int(k) % 3 == 1
    ]
    full = [len(batch.keys) for batch in batches if batch.keys]
    assert all(count == 4 for count in full[:-1])
    for batch in batches:
        assert [int(each.max()) for each in batch.samples if batch.keys] == [int(key) for key in batch.keys]
    assert sum(batch.transparent for batch in batches) == len(made)
    assert sum(batch.read for batch in batches) == 0.5 * len(made)
    assert any(unpinned) == (device == "cuda" and bool(keys))


def test_an_error_of_the_chunks_comes_after_the_batches_before_it(unpinned):
    def failing():
        yield from chunks(9)
        raise RuntimeError(Path("shard").name)

    batches = stacked_batches(failing(), 4, "cuda")
    assert len(next(batches).keys) == 4
    with pytest.raises(RuntimeError, match="shard"):
        list(batches)
