"""The only place that prints: what is shown cannot steer the terminal, and a reader that went away is not a bug."""

import logging
import os
import sys
import warnings
from typing import TextIO

from pipeline.errors import McrError, TryAgainError
from pipeline.inert import inert, inert_lines
from stages.terminal.live import erase


def say(text: str) -> None:
    """Print `text` as one line on the standard output."""
    _write(inert(text), sys.stdout)


def say_lines(text: str) -> None:
    """Print `text`, which our own code or a writer of CSV, JSON or YAML has laid out in lines."""
    _write(inert_lines(text), sys.stdout)


def note(text: str) -> None:
    """Print `text` as one line on the standard error stream."""
    _write(inert(text), sys.stderr)


def show_error(error: McrError) -> None:
    """What is wrong, and what to do; further lines are indented, so that none can pass for a line of ours."""
    _complain(f"error: {error.message}")
    if error.hint:
        _complain(f"hint: {error.hint}")


def _complain(text: str) -> None:
    _write(_indented(text), sys.stderr)


def _indented(text: str) -> str:
    first, *others = text.rstrip("\n").split("\n")
    return "\n".join([inert(first), *(f"  {inert(line.removeprefix('  '))}" for line in others)])


def _write(text: str, stream: TextIO) -> None:
    erase()
    try:
        print(text, file=stream)
    except BrokenPipeError as error:
        if stream is sys.stderr:
            return  # nobody is left to tell
        raise TryAgainError(
            "The program that read the output has ended.", "Run the same command again to continue."
        ) from error


class _Handler(logging.StreamHandler[TextIO]):
    def emit(self, record: logging.LogRecord) -> None:
        erase()
        super().emit(record)


class _InertFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _indented(super().format(record))


def log_to_stderr(level: int) -> None:
    """Send log records and warnings from `level` on to the standard error stream, made inert like all else."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_InertFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    note(f"{category.__name__}: {message} ({filename}:{lineno})")


def prepare_streams() -> None:
    """Let no character fail to print, whatever encoding the terminal claims to have."""
    # Streams that were closed (`>&-`) are None, and the next file that is opened would be taken for one of them.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
