"""The one line of a terminal that is drawn again and again; whatever else is printed takes it away first."""

import os
import sys

# To the first column, and away with all that stands there.
ERASE = "\r\x1b[2K"
_shown = False


def can_be_live() -> bool:
    """Whether the standard error stream is a terminal in which a line can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def draw(line: str) -> None:
    """Show `line`, which has no end of a line and fits the terminal, in place of what was drawn before."""
    global _shown
    try:
        sys.stderr.write(ERASE + line)
        sys.stderr.flush()
    except OSError:
        return  # nobody is left to look
    _shown = True


def erase() -> None:
    """Take the line away; nothing happens where none is shown."""
    global _shown
    if not _shown:
        return
    _shown = False
    try:
        sys.stderr.write(ERASE)
        sys.stderr.flush()
    except OSError:
        return
