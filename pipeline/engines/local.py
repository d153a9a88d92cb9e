"""Worker processes on this machine: one for each of its GPUs, or as many as are wanted on its CPU."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from pipeline.engines.supervised import Limits, Supervised


class LocalCrew:
    """Starts and watches them; see `Crew`.

    Args:
        places: The environment of each, such as which GPU it sees.
        start: What each calls first; pickled.
        limits: What each may take.
    """

    def __init__(self, places: Sequence[Mapping[str, str]], start: Callable[[], object], limits: Limits) -> None:
        self._places, self._limits = places, limits
        self._start = pickle.dumps(start)
        self.size = len(places)

    def start(self, place: int) -> Supervised:
        """Start the one at `place`."""
        return Supervised(self._start, self._limits, self._places[place])

    def listen(self, hands: Sequence[Supervised], seconds: float) -> Iterator[tuple[Supervised, Sequence[Any]]]:
        """What they tell."""
        wait([hand.connection for hand in hands], seconds)
        for hand in hands:
            if messages := hand.look():
                yield hand, messages

    def close(self) -> None:
        """This machine stays."""
