"""A function whose calls are made in child processes."""

import sys
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from pipeline.allocator import return_freed_memory
from pipeline.decode.isolated.child import Child
from pipeline.decode.isolated.limits import Limits
from pipeline.errors import McrError, SampleError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# A process that was forked from one with much in it shares all of that; elsewhere it would have to be built again.
POSSIBLE = sys.platform == "linux"
# A killed process may have been killed by somebody else: only who ends two is to blame.
_TRIES = 2


class Isolated(Generic[Argument, Result]):
    """A function whose calls are made in child processes, each of them forked when it is first needed.

    Where none can be forked, see `POSSIBLE`, the calls are made here, and nothing limits them.

    Args:
        function: What is called; a `SampleError` that it raises is returned, any other error is raised here. It is
            forked, not pickled; its arguments and results are pickled.
        workers: How many threads call at the same time, and so how many processes there are.
        limits: Of each call.
        at_start: Called once in each process.
    """

    def __init__(
        self,
        function: Callable[[Argument], Result],
        workers: int = 1,
        limits: Limits | None = None,
        at_start: Callable[[], object] = lambda: None,
    ) -> None:
        self._serve = (function, limits or Limits(), at_start)
        self._idle: SimpleQueue[Child | None] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._workers = workers

    def __enter__(self) -> "Isolated[Argument, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Fork all processes now: best while the calling process has no other threads."""
        if not POSSIBLE:
            return
        return_freed_memory()
        children = [self._idle.get() or Child(*self._serve) for _ in range(self._workers)]
        for child in children:
            # One that is not there in time is made again when it is needed.
            there = child.ready()
            if not there:
                child.end()
            self._idle.put(child if there else None)

    def close(self) -> None:
        """End the processes that wait for work."""
        children = [child for _ in range(self._workers) if (child := self._idle.get())]
        for child in children:
            child.kill()
        for child in children:
            child.end()
        for _ in range(self._workers):
            self._idle.put(None)

    def __call__(self, arguments: Sequence[Argument]) -> list[Result | SampleError]:
        """What the function returns for each of `arguments`, or why there is nothing.

        A call that takes too long, or too much memory, or that ends its process is a `SampleError`.
        """
        if not POSSIBLE:
            return [self._here(argument) for argument in arguments]
        results: list[Result | SampleError] = []
        ended = 0  # processes that the next argument has cost so far
        child = self._idle.get()
        try:
            while len(results) < len(arguments):
                child = child or self._fork()
                before = len(results)
                failure = child.run(arguments[before:], results)
                if failure is None:
                    break
                child.end()
                child = None
                ended = 1 if len(results) > before else ended + 1
                if failure.final or ended == _TRIES:
                    results.append(SampleError("decode", failure.reason))
                    ended = 0
            return results
        except BaseException:
            if child:
                child.end()
            child = None
            raise
        finally:
            self._idle.put(child)

    def one(self, argument: Argument) -> Result:
        """What the function returns for `argument`.

        Raises:
            SampleError: See `__call__`.
        """
        (found,) = self([argument])
        if isinstance(found, SampleError):
            raise found
        return found

    def _here(self, argument: Argument) -> Result | SampleError:
        function, limits, _ = self._serve
        try:
            return function(argument)
        except SampleError as error:
            return error
        except MemoryError:
            return limits.too_much_memory()

    def _fork(self) -> "Child":
        for _ in range(_TRIES):
            child = Child(*self._serve)
            if child.ready():
                return child
            child.end()
        raise McrError("The processes that decode cannot be started.", "Set `run.decode: threads` in params.yaml.")
