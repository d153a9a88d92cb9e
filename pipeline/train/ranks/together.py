"""The ranks of a training and what they exchange."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import McrError, TryAgainError, UserError
from pipeline.store.differences import differences

Sent = TypeVar("Sent")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. All of them call the same methods in the same order.

    Attributes:
        rank: Its number, from 0, which alone writes.
        size: How many there are.
        here: How many of them share this computer.
    """

    rank: int = 0
    size: int = 1
    here: int = 1

    @property
    def alone(self) -> bool:
        """Whether this is an ordinary training."""
        return self.size == 1

    @property
    def writes(self) -> bool:
        """Whether files are written, and progress is told, by this process."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This rank's rows of `count`: shares follow each other and differ by one row at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, the same bits on each."""
        if self.alone:
            return tensor
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _answering():
            dist.all_reduce(total)
        return total

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """All `count` rows [count, ...] from the shares [b, ...] of all ranks."""
        if self.alone:
            return rows
        # Not every kind of group gathers tensors of unequal size.
        most = -(-count // self.size)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.size)]
        with _answering():
            dist.all_gather(found, padded)
        shares = (Ranks(rank, self.size).share(count) for rank in range(self.size))
        return torch.cat([each[: share.stop - share.start] for each, share in zip(found, shares, strict=True)])

    def log_sum_exp(self, logs: Tensor) -> Tensor:
        """Elementwise log of the sum over all ranks of exp(logs)."""
        if self.alone:
            return logs
        return torch.logsumexp(self.gather(logs[None], self.size), 0)

    def told(self, make: Callable[[], Sent]) -> Sent:
        """What `make` returns on rank 0, where alone it is called."""
        if self.alone:
            return make()
        sent: list[Any] = [make() if self.writes else None]
        with _answering():
            dist.broadcast_object_list(sent, 0)
        return sent[0]

    def check_same(self, what: Mapping[str, Any]) -> None:
        """See that all ranks are about to do the same.

        Raises:
            UserError: One of them has other settings, data or versions than rank 0.
        """
        if self.alone:
            return
        found: list[Any] = [None] * self.size
        with _answering():
            dist.all_gather_object(found, dict(what))
        for rank, other in enumerate(found):
            if reasons := differences(found[0], other):
                raise UserError(
                    f"Rank {rank} would train something other than rank 0: {'; '.join(reasons)}.",
                    "Give all ranks the same params.yaml, pairs and versions of mcr-connect and torch.",
                )

    def check_equal(self, tensors: Mapping[str, Tensor]) -> None:
        """See that all ranks hold the same numbers.

        Raises:
            McrError: They do not: a device or a connection between them is at fault.
        """
        if self.alone:
            return
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors.values()])
        every = self.gather(sums[None], self.size)
        differs = ((every != every[0]) & ~(every.isnan() & every[0].isnan())).nonzero()
        if len(differs):
            rank, place = differs[0].tolist()
            raise McrError(
                f"Rank {rank} and rank 0 have different numbers in {list(tensors)[place]}.",
                "Use devices of one kind; if they are, test the machine's memory and interconnect.",
            )


ALONE = Ranks()
_current: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def ranks() -> Ranks:
    """Those that this process belongs to; `ALONE` where nobody said otherwise."""
    return _current.get()


@contextmanager
def acting_as(member: Ranks) -> Iterator[None]:
    """Within it, `ranks` is `member`."""
    token = _current.set(member)
    try:
        yield
    finally:
        _current.reset(token)


class RankLostError(TryAgainError):
    """Another rank no longer answers.

    Attributes:
        late: Whether it may be alive, and was only waited for in vain.
    """

    late = False


@contextmanager
def _answering() -> Iterator[None]:
    """Say in words that another rank has gone: gloo and NCCL tell it in many ways, all of them errors of this kind."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        late = "timed out" in str(error).lower()
        lost = RankLostError(
            f"Another rank of this training {'no longer answers' if late else 'has ended'}.",
            "Run the same command again: it continues at the last checkpoint.",
        )
        lost.late = late
        raise lost from error
