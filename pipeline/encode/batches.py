"""Batches of the samples of one part, put together while the model computes the batch before."""

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.encode.prepare import Chunk
from pipeline.encode.slots import Run
from pipeline.store import Failure


@dataclass(frozen=True)
class Batch:
    """Good samples of one part, and what else was found up to the last of them.

    Attributes:
        keys: Of the B samples.
        samples: [B, ...] on the GPU, or in host memory, which is pinned where there is a GPU; empty for the last rejects of a
            part.
        rejected: Samples without a tensor since the batch before.
        transparent: How many pictures have transparency since then.
        read: Seconds of reading since then.
        decode: Seconds of decoding since then, of all workers together.
        done: To be called when nobody reads `samples` any more; others will lie there.
    """

    keys: list[str]
    samples: Tensor
    rejected: list[Failure]
    transparent: int
    read: float
    decode: float
    done: Callable[[], None]


def stacked_batches(chunks: Iterable[Chunk], size: int, device: str) -> Generator[Batch, None, None]:
    """The good samples of one part in their order, `size` at a time. Rejects would leave short batches; filled up, the cut
    depends neither on where they are nor on the chunks."""
    pinned = torch.device(device).type == "cuda"
    filling = _Filling(size, pinned)
    for chunk in chunks:
        filling.since.append(chunk)
        taken, told = 0, 0
        for samples in chunk.samples if isinstance(chunk.samples, tuple) else (chunk.samples,):
            while len(samples):
                first, samples = _split(samples, min(size - len(filling.keys), len(samples)))
                filling.add(chunk.keys[taken : taken + len(first)], first)
                taken += len(first)
                if len(filling.keys) == size:
                    before = bisect_left(chunk.rejected, taken, key=lambda each: each[0])
                    filling.rejected += chunk.rejected[told:before]
                    yield filling.batch()
                    filling, told = _Filling(size, pinned), before
        filling.rejected += chunk.rejected[told:]
        if chunk.rejected and chunk.rejected[-1][0] == len(chunk.keys):
            filling.leave_slots()
    if filling.keys or filling.since or filling.rejected:
        yield filling.batch()


class _Filling:
    """A batch that is being filled: it stays where its samples lie while these lie side by side, and has memory of its own
    from the first one that does not."""

    def __init__(self, size: int, pinned: bool) -> None:
        self.size, self.pinned = size, pinned
        self.keys: list[str] = []
        self.since: list[Chunk] = []  # that came since the batch before
        self.rejected: list[tuple[int, Failure]] = []
        self._run: Run | None = None
        self._own: Tensor | None = None
        self._copied = 0

    def add(self, keys: Sequence[str], samples: Run | list[Tensor]) -> None:
        """Samples that follow; a run is held until the batch is done, or copied and released."""
        joined = None
        if isinstance(samples, Run) and not self._copied:
            joined = self._run.joined(samples) if self._run else samples if samples.side_by_side else None
        if joined:
            self._run = joined
        else:
            self.leave_slots()
            self._copy(samples)
        self.keys += keys

    def leave_slots(self) -> None:
        """Copy what lies in slots, because nothing will lie beside it; while it is held, no later slot comes round, however many
        samples are rejected."""
        run, self._run = self._run, None
        if run:
            self._copy(run)

    def batch(self) -> Batch:
        """The batch as it is, with what was found since the one before."""
        run = self._run
        own = torch.empty(0) if self._own is None else self._own[: self._copied]
        return Batch(
            self.keys,
            run.rows() if run else own,
            [failure for _, failure in self.rejected],
            sum(chunk.transparent for chunk in self.since),
            sum(chunk.read for chunk in self.since),
            sum(chunk.decode for chunk in self.since),
            run.release if run else _nothing,
        )

    def _copy(self, samples: Run | list[Tensor]) -> None:
        if not len(samples):
            return
        first = samples.row(0) if isinstance(samples, Run) else samples[0]
        if self._own is None:
            # Where the samples are: they may be on the GPU already. torch keeps pinned memory and hands it out again.
            pinned = self.pinned and first.device.type == "cpu"
            self._own = torch.empty(
                (self.size, *first.shape), dtype=first.dtype, device=first.device, pin_memory=pinned
            )
        target = self._own[self._copied : self._copied + len(samples)]
        self._copied += len(samples)
        _check_alike(self._own[0], [first] if isinstance(samples, Run) else samples)
        if isinstance(samples, Run):
            target.copy_(samples.rows())
            samples.release()
        else:
            torch.stack(samples, out=target)
            for sample in samples:
                if sample.is_cuda:  # made in another stream, which would use its memory again at once
                    sample.record_stream(torch.cuda.current_stream(sample.device))


def _check_alike(first: Tensor, samples: Iterable[Tensor]) -> None:
    """torch would make room for other shapes in the memory of the batch, and round other types."""
    for sample in samples:
        if sample.shape != first.shape or sample.dtype != first.dtype:
            one, other = (f"{each.dtype} {tuple(each.shape)}" for each in (first, sample))
            raise RuntimeError(f"The samples of a batch are not alike: {one} and {other}.")


def _split(samples: Run | list[Tensor], count: int) -> tuple[Run, Run] | tuple[list[Tensor], list[Tensor]]:
    return samples.split(count) if isinstance(samples, Run) else (samples[:count], samples[count:])


def _nothing() -> None:
    pass
