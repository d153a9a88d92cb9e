"""TERM, HUP and INT: the work stops, one line says how to continue, and no temporary file is left.

Everything that was committed stays. A second signal, or ten seconds in which the work does not let go (a library's
long computation, a thread that must be waited for), ends the process at once.

DVC passes no signal on: where it runs the stage, its end counts as TERM, and so does the end of torchrun for a rank. Any other
parent may end, as a shell does after `nohup mcr ... &`.
"""

import os
import select
import signal
import sys
from pathlib import Path
from threading import Thread
from typing import NoReturn

from pipeline.train.ranks.environment import quiet
from stages.printing import note

GRACE = 10.0  # seconds
CONTINUE = "Run the same command again to continue."
# Seconds between two looks whether DVC is still there.
LOOK = 1.0
# Which DVC and torchrun set for the commands that they run.
BY = {"DVC_STAGE", "TORCHELASTIC_RUN_ID"}
SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish"}


class Stopped(BaseException):
    """A signal asked the process to end. Not an `Exception`, so that no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop_on_signals() -> None:
    """From here on TERM, HUP and INT raise `Stopped`; those that the parent ignores, as nohup does, stay ignored.

    Not so SIGCHLD: where that is ignored nobody learns how a child process ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    heeded = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    pending: list[int] = []

    def stop(number: int, frame: object) -> None:
        if not pending:  # The second one is the watcher's; it must not break the tidying up.
            pending.append(number)
            raise Stopped(number)

    for number in heeded:
        signal.signal(number, stop)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Written to at once, even while the main thread is inside a library and runs no Python.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    parents = _parents() if not BY.isdisjoint(os.environ) and signal.SIGTERM in heeded else []
    Thread(target=_watch, args=(reader, set(heeded), parents), name="signals", daemon=True).start()

    def forget() -> None:
        signal.set_wakeup_fd(-1)
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=forget)


def _watch(reader: int, heeded: set[int], parents: list[int]) -> None:
    first = 0
    while True:
        ready = select.select([reader], [], [], GRACE if first else LOOK if parents else None)[0]
        if not ready and first:
            break
        if not ready:
            if _parents()[: len(parents)] != parents:
                parents = []
                os.kill(os.getpid(), signal.SIGTERM)
            continue
        if arrived := [number for number in os.read(reader, 64) if number in heeded]:
            if first or len(arrived) > 1:
                break
            first = arrived[0]
    say_stopped(first or signal.SIGTERM)
    end_at_once(128 + first)


def _parents() -> list[int]:
    """The parent of this process, and as long as it is a shell that one's, and so on."""
    found = [os.getppid()]
    while (status := _status(found[-1])) and status[0] in SHELLS:
        found.append(status[1])
    return found


def _status(pid: int) -> tuple[str, int] | None:
    """Name and parent of a process; None where the system does not tell."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        return name, int(rest.split()[1])
    except (OSError, ValueError, IndexError):
        return None


def say_stopped(number: int) -> None:
    """The line that says what happened and how to go on; of several ranks, one says it."""
    if quiet():
        return
    note(f"Stopped by {signal.Signals(number).name}. {CONTINUE}")


def end_at_once(status: int) -> NoReturn:
    """End the process without waiting for anything; its temporary files and child processes go with it."""
    if "pipeline.files.atomic" in sys.modules and status:
        sys.modules["pipeline.files.atomic"].discard_pending()
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    os._exit(status)
