"""What a driver and its worker processes tell each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store.parts.run import Making


@dataclass(frozen=True)
class Stream:
    """To a worker: take works one at a time, and do them by `making`."""

    folder: Path
    making: Making


@dataclass(frozen=True)
class Given:
    """To a worker that wants a work: here is one; None: there is none for it."""

    work: Any


@dataclass(frozen=True)
class Try:
    """To a worker: try the samples of this work one by one, from the key `start` on."""

    work: Any
    start: str


@dataclass(frozen=True)
class Ready:
    """From a worker: it is there."""


@dataclass(frozen=True)
class Wants:
    """From a worker: it has room for a work."""


@dataclass(frozen=True)
class Begins:
    """From a worker that tries samples: the next is `key`."""

    key: str


@dataclass(frozen=True)
class Advanced:
    """From a worker: `count` more samples are done, and for how many seconds each step was busy."""

    count: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Done:
    """From a worker: the record of the work that it has had for longest."""

    record: Any


@dataclass(frozen=True)
class Over:
    """From a worker: what it was told to do is done."""


@dataclass(frozen=True)
class Raised:
    """From a worker: an error that is not the fault of a sample."""

    error: Exception


@dataclass(frozen=True)
class Logged:
    """From a worker: a line for the log."""

    name: str
    level: int
    text: str


@dataclass(frozen=True)
class Ended:
    """Of a worker: it is no more.

    Attributes:
        reason: What became of it, in words, such as ``it crashed (SIGSEGV)``.
        blameless: Whether what it was doing cannot be the cause: its machine is gone.
    """

    reason: str
    blameless: bool = False
