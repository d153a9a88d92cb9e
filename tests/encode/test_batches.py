"""Batches: the same whether they are stacked as they are needed, or ahead into memory that a GPU copies from."""

from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.encode.batches import stacked_batches
from pipeline.encode.prepare import Chunk
from pipeline.encode.slots import Layout, Run, Slots
from pipeline.store import Failure
from pipeline.store.manifest import Part

SHARD = Part("00000.tar", 1, "0" * 64, "0" * 64, "s")


def rejects(numbers: Iterable[int], bad: Collection[int]) -> list[tuple[int, Failure]]:
    """Those of `numbers` that are `bad`, and before each how many that are not."""
    numbers = list(numbers)
    return [
        (sum(one not in bad for one in numbers[:place]), Failure(f"{number}", "decode", "SampleError", "x"))
        for place, number in enumerate(numbers)
        if number in bad
    ]


def chunks(*lengths: int) -> list[Chunk]:
    """Chunks of these lengths, in which every third sample is a reject."""
    found, number = [], 0
    for length in lengths:
        numbers = range(number, number + length)
        good = [each for each in numbers if each % 3 != 1]
        rejected = rejects(numbers, range(1, number + length, 3))
        samples = [torch.full((2, 3), each, dtype=torch.uint8) for each in good]
        found.append(Chunk(SHARD, [f"{each}" for each in good], samples, rejected, 0.5, 0.25, transparent=1))
        number += length
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
    everything = [f"{number}" for number in range(sum(lengths))]
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


def in_slots(slots: Slots, numbers: list[int], layout: Layout) -> Run:
    run = slots.take(len(numbers))
    for place, number in enumerate(numbers, run.start):
        assert slots.write(place, layout, np.full(layout.shape, number, layout.dtype))
    return run


@pytest.mark.parametrize("bad", [(), (5,), (0,), (3, 4, 17, 18), tuple(range(1, 60)), (63,)])
@pytest.mark.parametrize("whole", [True, False])
def test_batches_in_slots_are_the_same_as_batches_that_are_copied(bad, whole, unpinned):
    """Rejects leave holes, the ring comes round, and what a batch held is written over as soon as it is done."""
    layout, size = Layout((2, 3), "|u1"), 4
    with closing(Slots(lambda _: 16)) as slots:
        assert slots.with_first(np.zeros(layout.shape, np.uint8)).start == 0
        slots.release(0, 1)
        slots.begin_at(size)

        def arriving():
            for first in range(0, 64, 8):
                numbers = range(first, first + 8)
                good = [number for number in numbers if number not in bad]
                run = in_slots(slots, list(numbers), layout)
                if whole:
                    samples = run.without(number - first for number in bad if number in numbers)
                else:  # some of the others have come without a slot
                    samples = [run.row(number - first).clone() for number in good]
                    run.release()
                yield Chunk(SHARD, [str(number) for number in good], samples, rejects(numbers, bad), 0, 0)

        seen, in_place = [], 0
        for batch in stacked_batches(arriving(), size, "cpu"):
            if batch.keys:
                assert [int(each.max()) for each in batch.samples] == [int(key) for key in batch.keys]
                in_place += batch.samples.untyped_storage().data_ptr() == slots.rows(0, 1).untyped_storage().data_ptr()
            seen += batch.keys
            batch.done()
        assert seen == [str(number) for number in range(64) if number not in bad]
        assert in_place == 16 if whole and not bad else in_place < 16
        # All slots are free again.
        assert len(slots.take(16)) == 16


def test_a_reject_comes_with_the_batch_that_its_neighbours_are_in(unpinned):
    """However the chunks are cut, so that the order in which a store lists its rejects is that of their shard."""
    told = {
        tuple(
            (tuple(batch.keys), tuple(failure.key for failure in batch.rejected))
            for batch in stacked_batches(iter(chunks(*lengths)), 4, "cpu")
            if batch.keys
        )
        for lengths in ((17,), (1, 16), (8, 8, 1), (2, 5, 3, 7), (1,) * 17)
    }
    assert told == {
        (
            (("0", "2", "3", "5"), ("1", "4")),
            (("6", "8", "9", "11"), ("7", "10")),
            (("12", "14", "15"), ("13", "16")),
        )
    }


@pytest.mark.parametrize("odd", [torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.float64), torch.zeros(1, 3)])
def test_samples_that_are_not_alike_are_an_error(odd):
    chunk = Chunk(SHARD, ["a", "b"], [torch.zeros(2, 3), odd], [], 0, 0)
    with pytest.raises(RuntimeError, match="not alike"):
        list(stacked_batches([chunk], 4, "cpu"))
