"""A worker process seen from outside: started, listened to, and ended when it takes too long or too much memory."""

import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.engines.messages import Begins, Ended, Over, Raised, Ready, Wants
from pipeline.engines.process import GPU_FAILED, HUNGRY

# How many times longer it may take until it asks for its first work.
_SLOW_START = 10
# Longest time between two looks that is no pause of the whole machine, or of all processes.
_PAUSE = 5.0
_PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Limits:
    """What a worker process may take.

    Attributes:
        seconds: Of time without any progress; ten times as much before it asks for its first work,
            because a model or a memory has to be loaded.
        memory: Bytes beyond what it had when it asked for its first work; 0: any amount.
    """

    seconds: float
    memory: int = 0


class Supervised:
    """A worker process.

    Args:
        start: A pickled function that it calls first.
        limits: What it may take.
        environment: Variables beside those of this process.
    """

    def __init__(self, start: bytes, limits: Limits, environment: Mapping[str, str]) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        with theirs:
            command = [sys.executable, "-m", "pipeline.engines.process", str(theirs.fileno()), str(os.getpid())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path, **environment},
                stdin=subprocess.DEVNULL,
            )
        # A process that stops in the middle of a message must not stop its driver.
        for direction in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", int(limits.seconds) + 1, 0))
        self.connection = Connection(ours.detach())
        self._busy, self._asked = True, False
        self._heard = self._looked = time.monotonic()
        self._base: int | None = None
        self._over = ""
        self.send(start)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def send(self, message: bytes) -> None:
        """Send a pickled message."""
        try:
            self.connection.send_bytes(message)
        except BlockingIOError:
            self._hangs()
        except ConnectionError:
            pass  # it has ended, which the next look finds

    def order(self, message: bytes) -> None:
        """Send what it is to do; from now on it has to show progress."""
        self._busy, self._asked = True, False
        self._heard = time.monotonic()
        self.send(message)

    def look(self) -> list[Any]:
        """What it has told since the last look, without waiting; with `Ended` last, nothing will come any more."""
        messages = self._received()
        now = time.monotonic()
        if messages:
            self._heard = now
        elif now - self._looked > _PAUSE:
            self._heard += now - self._looked  # everything was stopped, and that does not count
        self._looked = now
        for message in messages:
            if isinstance(message, Ready | Over | Raised):
                self._busy = False
            elif isinstance(message, Wants | Begins) and not self._asked:
                self._asked, self._base = True, self._resident()
        if not (messages and isinstance(messages[-1], Ended)) and (self._over or self._exceeds(now)):
            self._over = self._over or self._exceeds(now)
            self._process.kill()
        return messages

    def _received(self) -> list[Any]:
        found: list[Any] = []
        try:
            while self.connection.poll():
                found.append(pickle.loads(self.connection.recv_bytes()))  # noqa: S301  # our own process sent it
        except BlockingIOError:
            self._hangs()
        except (EOFError, ConnectionError):
            self._process.kill()  # it may have closed the socket and live on
            found.append(Ended(self._over or _ending(self._process.wait())))
        return found

    def _exceeds(self, now: float) -> str:
        """What the process takes too much of, in words."""
        if not self._busy:
            return ""
        seconds = self._limits.seconds * (1 if self._asked else _SLOW_START)
        if now - self._heard > seconds:
            return _hung(seconds)
        if self._limits.memory and self._base is not None:
            held = self._resident() or 0
            if held - self._base > self._limits.memory:
                return f"it took more than {self._limits.memory >> 20} MB of memory and was ended"
        return ""

    def _hangs(self) -> None:
        self._over = _hung(self._limits.seconds)
        self._process.kill()

    def _resident(self) -> int | None:
        """Bytes of memory that it has to itself; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
            return (int(fields[1]) - int(fields[2])) * _PAGE
        except (OSError, IndexError):
            return None

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def _hung(seconds: float) -> str:
    return f"it made no progress for {seconds:g} s and was ended"


def _ending(code: int) -> str:
    """How a process ended, from its exit code or the negative of a signal."""
    if code == HUNGRY:
        return "it asked for more memory than there is"
    if code == GPU_FAILED:
        return "its GPU failed"
    if code >= 0:
        return f"it ended itself (exit code {code})"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    if name == "SIGKILL":
        return "it was killed, perhaps by the system, which does that when memory runs out"
    return f"it crashed ({name})"
