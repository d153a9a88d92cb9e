"""How many pixels are decoded together where the memory for them may be full: fewer then, and slowly more again."""

from threading import Lock

_STEPS = 64  # lists that have to fit until there are as many pixels in one as at first


class ListSize:
    """For any number of threads.

    Args:
        most: Pixels in a list, at most.

    Attributes:
        pixels: In a list now.
    """

    def __init__(self, most: int) -> None:
        self.most = self.pixels = most
        self._lock = Lock()

    def too_many(self, pixels: int) -> None:
        """A list of `pixels` did not fit. Threads whose lists fail at the same time make the next ones shorter once."""
        with self._lock:
            self.pixels = min(self.pixels, max(1, pixels // 2))

    def fits(self) -> None:
        """A list was decoded: what had taken up the memory may be gone."""
        with self._lock:
            self.pixels = min(self.most, self.pixels + -(-self.most // _STEPS))
