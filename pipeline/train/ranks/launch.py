"""The ranks of a training started from here, as torchrun does it, and their end in one sentence."""

import os
import signal
from collections.abc import Sequence

from pipeline.errors import TryAgainError
from pipeline.train.ranks.environment import LAUNCHED


class SignalledError(Exception):
    """A signal arrived; the ranks have been ended.

    Args:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def launch(count: int, module: str, arguments: Sequence[str], threads: int) -> int:
    """Run ``python -m module arguments`` as `count` ranks on this computer.

    Returns:
        Exit code of the rank that failed first, which has said why; 0 where none did.

    Raises:
        TryAgainError: A rank was killed.
        SignalledError: This process was asked to end.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # or torchrun sets 1, and says so
    try:
        options = parse_args(["--nproc-per-node", str(count), "--module", module, *arguments])  # type: ignore[no-untyped-call]
        run(options)  # type: ignore[no-untyped-call]
    except SignalException as stopped:
        raise SignalledError(stopped.sigval) from stopped
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        if killed := {rank: -code for rank, code in codes.items() if code < 0}:
            rank, number = min(killed.items())
            raise TryAgainError(
                f"Rank {rank} of {count} was ended by {signal.Signals(number).name}; the others have ended too.",
                "Run the same command again: it continues at the last checkpoint.",
            ) from error
        # Those that only lost the others end with 75, those that were told to with 143.
        return min(codes.values(), key=lambda code: (code in (75, 143), code == 143))
    return 0
