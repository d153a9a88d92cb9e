"""The life of a worker process: `python -m pipeline.engines.process FD`, where FD is a socket to whoever started it.

It reads what to do, does it, and tells what it does. It ends when the other end of the socket closes.
"""

import contextlib
import ctypes
import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from pipeline.engines.messages import Advanced, Begins, Done, Given, Logged, Over, Raised, Ready, Stream, Try, Wants
from pipeline.errors import McrError

# Exit code of a process that got no more memory.
HUNGRY = 77
# Exit code of a process whose GPU is of no use any more.
GPU_FAILED = 78
# Seconds between two messages about the advance.
TURN = 0.2


class Told:
    """Progress that goes to the driver, a few times a second."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell
        self._count, self._seconds = 0, dict[str, float]()
        self._last = 0.0

    def start(self, task: str, total: int, unit: str) -> None:
        """The driver knows."""

    def advance(self, count: int, **seconds: float) -> None:
        """Add it to what is told next."""
        self._count += count
        for name, spent in seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + spent
        if time.monotonic() - self._last >= TURN:
            self.flush()

    def flush(self) -> None:
        """Tell what was not told yet."""
        self._last = time.monotonic()
        if self._count or self._seconds:
            self._tell(Advanced(self._count, self._seconds))
        self._count, self._seconds = 0, {}


class Worker:
    """One worker process, seen from inside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = Lock()  # the log and the progress come from any thread
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._progress = Told(self.tell)

    def tell(self, message: object) -> None:
        """Send a message to the driver."""
        content = pickle.dumps(message)
        with self._sending, contextlib.suppress(ConnectionError):  # nobody is there: the reading thread ends all
            self._connection.send_bytes(content)

    def read(self) -> None:
        """Put what arrives into the inbox; the life of a thread."""
        while True:
            try:
                content = self._connection.recv_bytes()
            except (EOFError, OSError):
                os._exit(0)
            self._inbox.put(content)

    def _next(self) -> Any:
        return pickle.loads(self._inbox.get())  # noqa: S301  # our own driver sent it

    def live(self) -> None:
        """Do what is asked, until nobody asks any more."""
        start = self._next()
        start()
        self.tell(Ready())
        while True:
            try:
                self._do(self._next())
            except MemoryError:
                os._exit(HUNGRY)
            except Exception as error:
                if _gpu_failed(error):
                    logging.getLogger(__name__).warning("%s", error)
                    os._exit(GPU_FAILED)
                self.tell(Raised(_portable(error)))
            else:
                self._progress.flush()
                self.tell(Over())

    def _do(self, order: Any) -> None:
        if isinstance(order, Stream):
            for record in order.making(order.folder, self._works(), self._progress):
                self._progress.flush()
                self.tell(Done(record))
        elif isinstance(order, Try):
            order.work.divisible.try_samples(lambda key: self.tell(Begins(key)), order.start)

    def _works(self) -> Iterator[Any]:
        while True:
            self.tell(Wants())
            given = self._next()
            assert isinstance(given, Given)
            if given.work is None:
                return
            yield given.work


class _Log(logging.Handler):
    """Hands records of the log to the driver."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(Logged(record.name, record.levelno, record.getMessage()))


def _gpu_failed(error: Exception) -> bool:
    """Whether every further call of the GPU by this process would fail, too."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _portable(error: Exception) -> Exception:
    """`error` as another process can have it."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # made here
        if isinstance(error, McrError):
            copy.hint = error.hint
        return error if type(copy) is type(error) and str(copy) == str(error) else RuntimeError(_shown(error))
    except Exception:
        return RuntimeError(_shown(error))


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _settle(parent: int) -> None:
    """Leave Ctrl-C to the driver, end with whoever started this process, and be the first to go when memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, also while a library holds Python's lock
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
        if os.getppid() != parent:
            os._exit(0)


def main() -> None:
    """Begin."""
    _settle(int(sys.argv[2]))
    worker = Worker(Connection(int(sys.argv[1])))
    Thread(target=worker.read, name="inbox", daemon=True).start()
    root = logging.getLogger()
    root.addHandler(_Log(worker.tell))
    worker.live()


if __name__ == "__main__":
    # By its own name, or what is pickled here would be of a module that nobody else has.
    from pipeline.engines.process import main as main_of_module

    main_of_module()
