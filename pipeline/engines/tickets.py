"""Works on their way through worker processes: which have to be done again, and which of their samples end processes."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import McrError
from pipeline.store.manifest import Failure

# A process may have been ended by somebody else: only what ends two is to blame.
TRIES = 2
# Samples of one part that may end processes; where more do, it is hardly the samples.
MOST_SICK = 16


@dataclass
class Ticket:
    """One work.

    Attributes:
        work: It.
        alone: Whether it is done with no other one beside it, because a process has ended with it in hand.
        ended: How many processes have ended while they did it alone.
        tried: How many times its samples were tried one by one to the end.
        trying: Whether they are to be tried now, from the key `start` on.
        sample: The one that was begun last since a process was given the work.
        suspected: How many processes each sample has ended.
        passed_over: The samples that are to blame.
    """

    work: Any
    alone: bool = False
    ended: int = 0
    tried: bool = False
    trying: bool = False
    start: str = ""
    sample: str = ""
    suspected: Counter[str] = field(default_factory=Counter)
    passed_over: list[Failure] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the part."""
        name: str = self.work.name
        return name

    def lost(self, reason: str) -> None:
        """A process ended while it had the work in hand; decide how it is done next.

        Raises:
            McrError: It was tried often enough.
        """
        if self.trying and self.sample:
            self._suspect(reason)
        elif self.alone:
            self.ended += 1
            if self.ended > TRIES:
                raise McrError(
                    f"The worker process that makes {self.name} ended {self.ended + 1} times, the last time because {reason}.",
                    "If nobody else ended the process, check the files that it reads. All other parts are kept: run the command again to continue.",
                )
            self.trying = bool(self.work.divisible) and not self.tried
        self.alone = True

    def begins(self, key: str) -> None:
        """The sample `key` is tried."""
        self.start = self.sample = key

    def _suspect(self, reason: str) -> None:
        sample, self.sample = self.sample, ""
        self.suspected[sample] += 1
        if self.suspected[sample] < TRIES:
            return  # it is tried once more, and then what comes after it
        said = f"the process that embeds it ended, again and again: {reason}"
        self.passed_over.append(Failure(sample, "encode", "WorkerEnded", said))
        if len(self.passed_over) > MOST_SICK:
            raise McrError(
                f"More than {MOST_SICK} samples of {self.name} end the processes that embed them, the last one because {reason}.",
                "The samples are probably not the cause: check the encoder and the device's memory.",
            )
        self.work = self.work.without(self.passed_over)

    def tried_to_the_end(self) -> None:
        """All samples were tried: now the part is made without those that are to blame."""
        self.trying, self.tried, self.ended = False, True, 0


class Tickets:
    """Works that are waiting: first those that have to be done again, then those that nobody has had yet."""

    def __init__(self, works: Iterable[Any]) -> None:
        self._works: Iterator[Any] = iter(works)
        self._fresh: deque[Ticket] = deque()  # seen already
        self._again: deque[Ticket] = deque()

    def again(self, ticket: Ticket) -> None:
        """It has to be done again."""
        self._again.append(ticket)

    def waiting(self, most: int) -> int:
        """How many are waiting; it looks no further than `most`."""
        while len(self._fresh) < most and (work := next(self._works, None)) is not None:
            self._fresh.append(Ticket(work))
        return min(most, len(self._again) + len(self._fresh))

    def together(self) -> Ticket | None:
        """The next one that may be done beside others; None if the next one may not, or there is none."""
        if self._again:
            return None if self._again[0].alone else self._again.popleft()
        return self._fresh.popleft() if self.waiting(1) else None

    def alone(self) -> Ticket | None:
        """The next one that must be done alone, if its turn has come."""
        return self._again.popleft() if self._again and self._again[0].alone else None
