"""The errors that a person sees: one sentence that says what is wrong, one that says what to do."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class McrError(Exception):
    """Base of every error that the command line shows without a traceback.

    Args:
        message: One sentence, what is wrong.
        hint: One sentence, what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(McrError):
    """The inputs are wrong and the user can put them right (exit code 2)."""

    exit_code = 2


class CorruptError(McrError):
    """A file that we wrote is not what its manifest says (exit code 1)."""


class TryAgainError(McrError):
    """The machine refused something, such as space on a disk: the same command succeeds once that is put right
    (exit code 75, which schedulers know as "try again later")."""

    exit_code = 75


class SampleError(Exception):
    """One sample cannot be used; it becomes a row of the failures file and the run goes on.

    Args:
        step: Where it failed: ``read``, ``decode``, ``preprocess`` or ``encode``.
        message: One sentence, without the sample's content.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(step, message)  # all arguments, or it cannot be pickled
        self.step = step
        self.message = message

    def __str__(self) -> str:
        return self.message


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` may stand for, misspelt or in another case; empty if none is close."""
    folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else ""


def choice(name: object, known: Iterable[str]) -> str:
    """A hint for who wrote `name` where one of `known` has to stand: the nearest of them, or all."""
    known = list(known)
    if close := nearest(str(name), known):
        return f"Did you mean {close!r}?"
    return f"Choose one of: {', '.join(known)}." if known else "There is none yet."


def first_few(names: Sequence[str]) -> str:
    """The first five of `names`, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
