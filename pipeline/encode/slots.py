"""Memory in which processes that decode leave their samples side by side, so that a batch lies there once all have.

A process writes its sample into the file behind that memory, which it has inherited: nothing of it is pickled, sent, or
copied once more. The processes do not map it, so that a decoder that runs wild cannot change what another one decoded.
"""

import logging
import mmap
import os
from collections.abc import Callable, Iterable
from threading import Condition
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)
# How often who waits for free slots looks whether they are still wanted.
_PATIENCE = 0.1


class Layout(NamedTuple):
    """What one sample is: its shape, and the name of its type in numpy."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, sample: NDArray[np.generic]) -> "Layout":
        """That of `sample`."""
        return cls(sample.shape, sample.dtype.str)

    @property
    def bytes(self) -> int:
        """Of one sample."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Slots:
    """A ring of slots, one for each sample. A place is the number of a slot that was taken, counted from the first one
    ever; it comes round to the same slot after `count` places.

    Make it before the processes that write are forked. It has no memory until the first sample is known.

    Args:
        count: Number of slots, by the bytes of one sample.
        device: Where batches go; a GPU can then copy them from here by itself.

    Raises:
        OSError: The system has no such files.
    """

    def __init__(self, count: Callable[[int], int], device: str = "cpu") -> None:
        self.count = 0
        self.layout: Layout | None = None
        self._count = count
        self._file = os.memfd_create("samples", os.MFD_CLOEXEC)
        self._gpu = torch.device(device).type == "cuda"
        self._pinned = False
        self._next = self._oldest = 0  # places: the next to be taken, and the oldest that is in use
        self._released: dict[int, int] = {}  # ends of runs that are free while an older one is not
        self._change = Condition()
        self._closed = False

    @property
    def undecided(self) -> bool:
        """Whether there may be memory once it is known what a sample is."""
        return self.layout is None and not self._closed

    def write(self, place: int, layout: Layout, sample: NDArray[np.generic]) -> bool:
        """Put `sample` into its slot, from any process; false where that cannot be."""
        if Layout.of(sample) != layout:
            return False
        content = np.ascontiguousarray(sample).data.cast("B")
        start = place % self._count(layout.bytes) * layout.bytes  # `count` is not known in a process forked before
        try:
            while content:
                written = os.pwrite(self._file, content, start)
                content, start = content[written:], start + written
        except OSError:  # no memory left, or a limit on the size of files
            return False
        return True

    def with_first(self, sample: NDArray[np.generic]) -> "Run | None":
        """Make room for samples like this one, and put it into the first slot; None where there cannot be any, or is
        some already."""
        layout = Layout.of(sample)
        with self._change:
            if not (self.undecided and layout.bytes and self._map(layout)):
                return None
        run = self.take(1)
        return run if run and self.write(run.start, layout, sample) else None

    def _map(self, layout: Layout) -> bool:
        self.count = self._count(layout.bytes)
        try:
            os.ftruncate(self._file, self.count * layout.bytes)
            self._memory = mmap.mmap(self._file, self.count * layout.bytes)
        except (OSError, ValueError, OverflowError) as error:
            log.info("no shared memory for decoded samples (%s): they are copied", error)
            self._closed = True
            return False
        rows = np.frombuffer(self._memory, layout.dtype).reshape(self.count, *layout.shape)
        self._rows = torch.from_numpy(rows)
        self._pin()
        self.layout = layout
        return True

    def take(self, count: int) -> "Run | None":
        """The next `count` slots, after waiting until they are free; None where there is no memory (yet, or any more)."""
        with self._change:
            while self.layout and not self._closed:
                if self._next + count - self._oldest <= self.count:
                    self._next += count
                    return Run(self, self._next - count, self._next)
                self._change.wait(_PATIENCE)
        return None

    def begin_at(self, multiple: int) -> None:
        """Leave slots out until the next place is a multiple of this: batches that begin there never come round, if
        `count` is one as well and no sample is missing."""
        with self._change:
            start, self._next = self._next, -(-self._next // multiple) * multiple
        if self._next > start:
            self.release(start, self._next)

    def release(self, start: int, stop: int) -> None:
        """Nobody reads the places from `start` to `stop` any more. Each is released once."""
        with self._change:
            self._released[start] = stop
            while (stop := self._released.pop(self._oldest, -1)) >= 0:
                self._oldest = stop
            self._change.notify_all()

    def rows(self, start: int, stop: int) -> Tensor:
        """The samples [N, ...] at the places from `start` to `stop`: where they lie, or a copy if the ring comes round."""
        first = start % self.count
        rows = self._rows[first : first + stop - start]
        return rows if len(rows) == stop - start else torch.cat([rows, self._rows[: stop - start - len(rows)]])

    def give_up(self) -> None:
        """Wake who waits for slots: there will be none."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def close(self) -> None:
        """Let go of the memory, which lasts as long as a sample in it is held."""
        self.give_up()
        if self._pinned:
            torch.cuda.synchronize()
            _driver().cudaHostUnregister(self._rows.data_ptr())
        os.close(self._file)

    def _pin(self) -> None:
        if not self._gpu:
            return
        result = _driver().cudaHostRegister(self._rows.data_ptr(), len(self._memory), 0)
        self._pinned = int(result) == 0
        if not self._pinned:
            log.info("the driver does not pin the memory of decoded samples (error %s): copies to the GPU wait", result)


class Run:
    """Slots in a row, each with a sample, that one holder has until it releases them."""

    def __init__(self, slots: Slots, start: int, stop: int) -> None:
        self.slots, self.start, self.stop = slots, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def rows(self) -> Tensor:
        """The samples [N, ...]."""
        return self.slots.rows(self.start, self.stop)

    def row(self, number: int) -> Tensor:
        """One of them."""
        return self.slots.rows(self.start + number, self.start + number + 1)[0]

    def split(self, count: int) -> "tuple[Run, Run]":
        """The first `count`, and the others."""
        middle = self.start + count
        return Run(self.slots, self.start, middle), Run(self.slots, middle, self.stop)

    @property
    def side_by_side(self) -> bool:
        """Whether the ring does not come round within them."""
        return self.start % self.slots.count + len(self) <= self.slots.count

    def joined(self, other: "Run") -> "Run | None":
        """Both as one; None if `other` does not begin where this one ends, or they do not lie side by side."""
        both = Run(self.slots, self.start, other.stop)
        return both if self.stop == other.start and both.side_by_side else None

    def without(self, numbers: Iterable[int]) -> "Runs":
        """What lies between the samples of these `numbers`, whose slots are released."""
        found, start = [], self.start
        for place in sorted(self.start + number for number in numbers):
            found.append(Run(self.slots, start, place))
            Run(self.slots, place, place + 1).release()
            start = place + 1
        return tuple(run for run in [*found, Run(self.slots, start, self.stop)] if len(run))

    def release(self) -> None:
        """Nobody reads them any more."""
        if len(self):
            self.slots.release(self.start, self.stop)


Runs = tuple[Run, ...]


def _driver() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
