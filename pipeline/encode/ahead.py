"""Work that runs ahead of the one who needs it, in order and not further than it may."""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
_END = object()
# How often a thread looks whether the work was given up.
_PATIENCE = 0.1


def read_ahead(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items of `source`, taken by a thread that is at most `depth` items ahead; its error is raised in its place.

    The thread ends when the caller stops early.
    """
    ready: Queue[object] = Queue(depth)
    given_up = Event()
    errors: list[BaseException] = []

    def put(item: object) -> None:
        while not given_up.is_set():
            try:
                return ready.put(item, timeout=_PATIENCE)
            except Full:
                continue

    def run() -> None:
        try:
            for item in source:
                put(item)
                if given_up.is_set():
                    return
        except BaseException as error:
            errors.append(error)
        put(_END)

    thread = Thread(target=run, name="read ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc]
        if errors:
            raise errors[0]
    finally:
        given_up.set()
        thread.join()


@contextmanager
def short_turns() -> Iterator[None]:
    """Let Python's threads take turns of 0.2 ms instead of 5.

    The model gives its turn away with every operation. Behind threads that decode it would wait longer for the next one
    than a small model computes.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
