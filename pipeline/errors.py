"""The errors that a person sees: one sentence that says what is wrong, one that says what to do."""


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
