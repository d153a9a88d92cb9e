"""The library below Python that makes chosen calls of the system fail: built once, preloaded, told what to do."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

SOURCE = Path(__file__).with_name("shim.c")
WRITE, READ = 1, 2
FAIL, SHORT, EXIT, LASTING = 1, 2, 3, 4


@dataclass(frozen=True)
class Fault:
    """What happens to a call.

    Attributes:
        kind: ``WRITE`` or ``READ``.
        call: Its number, from 1; 0 lets all succeed and counts them.
        action: ``FAIL``, ``SHORT`` (half of it is done), ``EXIT`` (the process is gone) or ``LASTING`` (this call and
            all after it fail).
        error: The system's number for it.
    """

    kind: int
    call: int = 0
    action: int = FAIL
    error: int = 0


def preload() -> None:
    """Start this program again with the library below it, unless it is there."""
    if "fault_arm" in dir(_library()) or hasattr(_library(), "fault_arm"):
        return
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        sys.exit("error: no C compiler.\nhint: install one (cc); the faults are made below Python and its libraries.")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"faults-{os.getuid()}-{digest}.so"
    if not built.exists():
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", fresh, SOURCE, "-ldl"], check=True)
        fresh.rename(built)
    _again(built)


def _again(built: Path) -> NoReturn:
    environment = {**os.environ, "LD_PRELOAD": str(built), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    # As `mcr` sets them before it imports anything that computes; here the parent has imported it long before.
    environment |= {"MKL_DYNAMIC": "FALSE", "OMP_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
    os.execve(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]], environment)


def _library() -> Any:
    return ctypes.CDLL(None)


def arm(fault: Fault, folder: Path) -> None:
    """From now on `fault` happens in this process to files of `folder` and below the working directory."""
    _library().fault_arm(os.fsencode(folder), fault.kind, fault.call, fault.action, fault.error)


def counted() -> int:
    """How many calls of the armed kind there were in this process and those that it forked."""
    return int(_library().fault_counted())


def happened() -> str:
    """The call that was hit; empty if none was."""
    library = _library()
    library.fault_happened.restype = ctypes.c_char_p
    return bytes(library.fault_happened()).decode(errors="replace")
