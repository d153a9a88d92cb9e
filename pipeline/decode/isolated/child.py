"""One child process as its parent sees it: what it is asked, what it answers, and how it ends."""

import contextlib
import os
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from threading import Lock
from typing import Any

from pipeline.decode.isolated.answers import Answers
from pipeline.decode.isolated.life import PATIENCE, READY, Raised, serve
from pipeline.decode.isolated.limits import Limits

# Seconds in which a process has to be there.
_START = 20.0
_FORKING = Lock()


@dataclass(frozen=True)
class Failure:
    """Why a child gave no answer; `final` if trying again would not help."""

    reason: str
    final: bool = False


class Child:
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
                    serve(function, theirs, self._answers, parent, limits, at_start)
                finally:
                    os._exit(1)
            theirs.close()

    def ready(self) -> bool:
        """Whether the process is there, after waiting for it."""
        try:
            return self._pipe.poll(_START) and self._pipe.recv() == READY
        except (EOFError, ConnectionError):
            return False

    def run(self, arguments: Sequence[Any], results: list[Any]) -> Failure | None:
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
                failure = Failure(f"the decoder was still busy after {self._limits.seconds:g} s", final=late)
        except (EOFError, ConnectionError):
            self.kill()  # it may have closed the pipe and live on
            failure = Failure(f"the decoder {_ending(self._wait())}")
        found |= self._answers.get(len(arguments))
        for number in range(len(arguments)):
            if number not in found:
                break
            answer = found[number]
            if isinstance(answer, Raised):
                raise answer.error
            results.append(answer)
        return failure

    def _message(self) -> bytes | None:
        """The next message; None where the present call takes longer than it may.

        While this process was stopped (Ctrl-Z, a paused container), so was the child, and that does not count.
        """
        stopped = 0.0
        while (left := self._answers.begun + self._limits.seconds + stopped - (now := time.monotonic())) > 0:
            turn = min(left, PATIENCE)
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


def _ending(code: int) -> str:
    if code >= 0:
        return "ended its process"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hungry = ", perhaps by the system, which does that when memory runs out" if name == "SIGKILL" else ""
        return f"crashed ({name})" if not hungry else f"was killed{hungry}"
    return f"crashed (signal {-code})"
