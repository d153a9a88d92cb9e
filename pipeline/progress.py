"""How long work shows itself: the library reports what it did, a stage decides how to draw it."""

from typing import Protocol


class Progress(Protocol):
    """Receives the advance of one piece of long work."""

    def start(self, task: str, total: int, unit: str) -> None:
        """`total` items of `unit` (samples, queries, steps) are ahead."""
        ...

    def advance(self, count: int, **seconds: float) -> None:
        """`count` more items are done; `seconds` says for how long each step was busy
        (``read=0.1, compute=0.9``); steps may overlap, and a step that several threads share counts once."""
        ...


class Silent:
    """Progress for tests and library users who do not want any."""

    def start(self, task: str, total: int, unit: str) -> None:
        """Ignore the start."""

    def advance(self, count: int, **seconds: float) -> None:
        """Ignore the advance."""
