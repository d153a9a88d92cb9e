"""What is needed next, read in threads meanwhile: hashing, checksums and copies let go of Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# Parts that were read ahead hold about this many bytes; files smaller than these are not worth a thread.
MOST_BYTES, WORTH = 1 << 27, 1 << 20
# So that reading does not take all of a large machine that others use as well.
MOST_THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use: a container or a scheduler may leave it fewer than the machine has; only Linux says which."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def readers(size: int, held: int = 0) -> int:
    """How many files of `size` bytes to read at once.

    Args:
        size: Of a file.
        held: Bytes of memory that what was read of it takes until it is used.
    """
    most = min(available_cores(), MOST_THREADS, MOST_BYTES // held if held else MOST_THREADS)
    return 1 if size < WORTH else max(1, most)


def map_ahead(read: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Results of `read` in the order of `items`, as many of them being read as there are `threads`; with one, none is read ahead.

    Raises:
        Exception: What `read` raised for the first item that it failed for, after those that were begun have ended.
    """
    if threads == 1:
        yield from map(read, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "read") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) >= threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
