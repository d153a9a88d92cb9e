"""Call a function in child processes, so that a crash, a hang or a hunger for memory costs one argument and no more."""

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeVar

from pipeline.decode.answers import Answers
from pipeline.errors import McrError, SampleError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# A process that was forked from one with much in it shares all of that; elsewhere it would have to be built again.
POSSIBLE = sys.platform == "linux"
# A killed process may have been killed by somebody else: only who ends two is to blame.
_TRIES = 2
_PATIENCE = 1.0
# Seconds in which a process has to be there.
_START = 20.0
_READY = "ready"
_FORKING = Lock()


@dataclass(frozen=True)
class Limits:
    """What one call may take.

    Attributes:
        seconds: Of time, by the clock on the wall.
        memory: Bytes beyond what the process had when it was forked.
    """

    seconds: float = 60.0
    memory: int = 4 << 30


class Isolated(Generic[Argument, Result]):
    """A function whose calls are made in child processes, each of them forked when it is first needed.

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
        self._idle: SimpleQueue[_Child | None] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._workers = workers

    def __enter__(self) -> "Isolated[Argument, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Fork all processes now: best while the calling process has no other threads."""
        children = [self._idle.get() or _Child(*self._serve) for _ in range(self._workers)]
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

    def _fork(self) -> "_Child":
        for _ in range(_TRIES):
            child = _Child(*self._serve)
            if child.ready():
                return child
            child.end()
        raise McrError("The processes that decode cannot be started.", "Set `run.decode: threads` in params.yaml.")


@dataclass(frozen=True)
class _Failure:
    """Why a child gave no answer; `final` if trying again would not help."""

    reason: str
    final: bool = False


class _Child:
    """One process that answers calls."""

    def __init__(self, function: Callable[[Any], Any], limits: Limits, at_start: Callable[[], object]) -> None:
        self._limits = limits
        self._answers = Answers()
        parent = os.getpid()
        # No child may hold on to the pipe of another that is just being made: it would never seem to be gone.
        with _FORKING:
            self._pipe, theirs = Pipe()
            self._pid = os.fork()
            if not self._pid:
                try:
                    self._pipe.close()
                    _serve(function, theirs, self._answers, parent, limits, at_start)
                finally:
                    os._exit(1)
            theirs.close()

    def ready(self) -> bool:
        """Whether the process is there, after waiting for it."""
        try:
            return self._pipe.poll(_START) and self._pipe.recv() == _READY
        except (EOFError, ConnectionError):
            return False

    def run(self, arguments: Sequence[Any], results: list[Any]) -> _Failure | None:
        """Add what comes back for `arguments` to `results`, until all is there or an answer fails to come."""
        found: dict[int, Any] = {}  # what was too large for the shared memory
        failure = None
        try:
            self._answers.clear()
            self._pipe.send(list(arguments))
            while message := self._message():
                number, content, buffers = pickle.loads(message)  # noqa: S301  # our own child sent it
                found[number] = pickle.loads(content, buffers=buffers)  # noqa: S301
            if message is None:
                self.kill()
                self._wait()
                # It may have answered in the last moment; what it had just begun then is not to blame.
                late = time.monotonic() - self._answers.begun >= self._limits.seconds
                failure = _Failure(f"the decoder was still busy after {self._limits.seconds:g} s", final=late)
        except (EOFError, ConnectionError):
            self.kill()  # it may have closed the pipe and live on
            failure = _Failure(f"the decoder {_ending(self._wait())}")
        for number in range(len(arguments)):
            answered = [found[number]] if number in found else self._answers.get(number)
            if not answered:
                break
            answer = answered[0]
            if isinstance(answer, _Raised):
                raise answer.error
            results.append(answer)
        return failure

    def _message(self) -> bytes | None:
        """The next message; None where the present call takes longer than it may.

        While this process was stopped (Ctrl-Z, a paused container), so was the child, and that does not count.
        """
        stopped = 0.0
        while (left := self._answers.begun + self._limits.seconds + stopped - (now := time.monotonic())) > 0:
            turn = min(left, _PATIENCE)
            if self._pipe.poll(turn):
                return self._pipe.recv_bytes()
            stopped += max(0.0, time.monotonic() - now - turn)
        return self._pipe.recv_bytes() if self._pipe.poll() else None

    def kill(self) -> None:
        """Make the process end, without waiting until it has."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process."""
        self.kill()
        self._wait()
        self._pipe.close()

    def _wait(self) -> int:
        """How the process ended: its exit code, or the negative of a signal."""
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0


@dataclass(frozen=True)
class _Raised:
    error: Exception


def _ending(code: int) -> str:
    if code >= 0:
        return "ended its process"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hungry = ", perhaps by the system, which does that when memory runs out" if name == "SIGKILL" else ""
        return f"crashed ({name})" if not hungry else f"was killed{hungry}"
    return f"crashed (signal {-code})"


def _serve(
    function: Callable[[Any], Any],
    pipe: Connection,
    answers: Answers,
    parent: int,
    limits: Limits,
    at_start: Callable[[], object],
) -> None:
    """The life of a child: call, answer, until nobody asks any more."""
    _settle(limits)
    at_start()
    pipe.send(_READY)
    while True:
        while not pipe.poll(_PATIENCE):
            if os.getppid() != parent:
                os._exit(0)
        try:
            arguments = pipe.recv()
        except (EOFError, ConnectionError):
            os._exit(0)
        for number, argument in enumerate(arguments):
            answers.begin()
            content, buffers = _answer(function, argument, limits)
            if not answers.put(number, content, buffers):
                pipe.send_bytes(_whole(number, content, buffers, limits))
        pipe.send_bytes(b"")  # all are there


def _settle(limits: Limits) -> None:
    """Leave signals to the parent, keep quiet about crashes, and limit the memory."""
    import resource  # only Unix has it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = held + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(function: Callable[[Any], Any], argument: Any, limits: Limits) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """The answer as a pickle, and its large buffers beside it."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        try:
            return pickle.dumps(function(argument), 5, buffer_callback=buffers.append), buffers
        except SampleError as error:
            return pickle.dumps(error), []
    except MemoryError:
        return pickle.dumps(_hungry(limits)), []
    except Exception as error:
        try:
            pickle.loads(content := pickle.dumps(_Raised(error)))  # noqa: S301  # made one line above
            return content, []
        except Exception:  # some errors cannot be pickled, or not be put together again
            return pickle.dumps(_Raised(RuntimeError(f"{type(error).__name__}: {error}"))), []


def _whole(number: int, content: bytes, buffers: list[pickle.PickleBuffer], limits: Limits) -> bytes:
    """An answer in one message."""
    try:
        return pickle.dumps((number, content, [bytearray(buffer.raw()) for buffer in buffers]))
    except MemoryError:
        return pickle.dumps((number, pickle.dumps(_hungry(limits)), []))


def _hungry(limits: Limits) -> SampleError:
    return SampleError("decode", f"the decoder asks for more than {limits.memory >> 20} MB of memory")
