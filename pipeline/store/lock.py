"""One driver per output: whoever writes to a folder holds its lock, and the next one learns who that is.

The lock is a file in the folder that says host, process and boot. One that was left by a kill is taken over where its
holder is provably dead: the process is gone from this machine since its last boot, or the machine has booted since.
A holder on another machine (a shared file system) cannot be proved dead from here; `break_lock` is for that.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from pipeline.errors import TryAgainError
from pipeline.files.atomic import discard, move, remove_leftovers, temporary_file

LOCK_NAME = "_lock.json"


class HeldError(TryAgainError):
    """Somebody else writes to the folder; later it may be free."""


@dataclass(frozen=True)
class Holder:
    """A process, told apart from every other one that ever ran.

    Attributes:
        host: Name of the machine.
        machine: Its permanent id, empty where it has none.
        boot: Id of its last boot, empty where the system does not tell.
        namespace: Which process ids these are (each container counts its own).
        pid: Process id.
        started: When the process began, in the system's own ticks: ids are used again.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def here(cls, pid: int | None = None) -> "Holder":
        """This process, or the one called `pid` in the same namespace; `started` is empty if there is none."""
        pid = pid or os.getpid()
        return cls(
            socket.gethostname(),
            _content("/etc/machine-id"),
            _content("/proc/sys/kernel/random/boot_id"),
            _namespace(),
            pid,
            _started(pid),
        )

    def dead(self) -> bool:
        """Whether it is certain that the process does not run any more; False where that cannot be known from here."""
        here = Holder.here()
        if (self.host, self.machine) != (here.host, here.machine):
            return False
        if self.boot != here.boot:
            return True
        if self.namespace != here.namespace:
            return False
        if self.started:
            return _started(self.pid) != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class FolderLock:
    """The right to write to `folder`, until `release` or the end of the ``with`` block.

    Raises:
        HeldError: Somebody holds it who is not provably dead.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._content = json.dumps(asdict(Holder.here())) + "\n"
        with _alone(folder):
            holder = _holder(self.path)
            if holder and not holder.dead():
                raise HeldError(
                    f"{folder} is being written by process {holder.pid} on {holder.host}.",
                    "Wait until it is done and run the same command again; if that process has certainly ended, "
                    "run it with --break-lock.",
                )
            with temporary_file(self.path) as temporary:
                temporary.write_text(self._content)
            if holder:
                move(temporary, self.path)
            else:
                _create(temporary, self.path, folder)

    def check(self) -> None:
        """See that the lock is still ours.

        Raises:
            HeldError: Somebody broke it.
        """
        if not self._ours():
            raise HeldError(
                f"The lock {self.path} was taken over by another run while this one was working.",
                "Nothing is lost: wait until the other run is done, and run the same command again.",
            )

    def release(self) -> None:
        """Let the next one write."""
        if self._ours():
            self.path.unlink(missing_ok=True)

    def _ours(self) -> bool:
        try:
            return self.path.read_text() == self._content
        except FileNotFoundError:
            return False

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, and remove what a killed run left half-written there.

    Raises:
        HeldError: Somebody else holds it.
    """
    with FolderLock(folder):
        remove_leftovers(folder)
        yield


def break_lock(folder: Path) -> Holder | None:
    """Remove the lock of `folder`, whoever holds it, and say who that was; None if it was free."""
    holder = _holder(folder / LOCK_NAME)
    (folder / LOCK_NAME).unlink(missing_ok=True)
    return holder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the other processes of this machine from looking at the lock while it is judged and replaced."""
    descriptor = _opened(folder)
    try:
        # Some network file systems lock no folders. Then two that take over the same dead lock at once are not kept
        # apart here, and `check` stops the slower one.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path, tries: int = 10) -> int:
    """Descriptor of `folder`, which is made if need be; another run may remove it just then, because it is empty."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            tries -= 1
            if not tries:
                raise


def _create(temporary: Path, path: Path, folder: Path) -> None:
    """Put the lock there if nobody has in the meantime, from whatever machine: neither way replaces a file."""
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # No links here.
            content = temporary.read_bytes()
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            os.write(descriptor, content)
            os.close(descriptor)
    except FileExistsError:
        raise HeldError(
            f"{path} is there, and does not say who writes to {folder}.",
            "Run the same command again; if certainly nobody else writes there, run it with --break-lock.",
        ) from None
    finally:
        discard(temporary)


def _holder(path: Path) -> Holder | None:
    """Who holds the lock; None if there is none, or one that cannot be read."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _content(name: str) -> str:
    try:
        return Path(name).read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    # The name of the program, in brackets, may hold anything; state and start are the 3rd and the 22nd field.
    fields = _content(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""  # A zombie writes no more.
