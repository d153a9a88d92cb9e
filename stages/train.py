"""`mcr train`: pairs become the projectors of a connection."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stages.options import BreakLock, Names, ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.params.model import Params
    from pipeline.train.fit import TrainResult


def train(names: Names, params_file: ParamsFile = Path("params.yaml"), break_lock: BreakLock = False) -> None:
    """Train the projectors of connections.

    A killed run resumes at its last checkpoint and ends with the same bytes as an uninterrupted one.

    Several GPUs can divide a batch that does not fit one: set `run.ranks` in params.yaml, or start
    `torchrun --nproc-per-node 4 -m stages.train audio_image`, on one machine or on many.

    Example: mcr train audio_image
    """
    from pipeline.params.load import load_params
    from pipeline.train.ranks.environment import one_of_several
    from pipeline.train.ranks.join import device_of_rank, joined
    from stages.context import MODELS, device_of, set_up_torch
    from stages.options import pick

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    if params.run.ranks > 1 and not one_of_several():
        _train_in_ranks(params, [*names, "--params", str(params_file), *(["--break-lock"] if break_lock else [])])
        return
    set_up_torch(params)
    with joined() as member:
        device = device_of_rank(device_of(params), member)
        for name, _ in connections:
            if member.writes:
                _report(_train_holding_the_lock(params, name, device, break_lock))
            else:
                logging.disable(logging.WARNING)
                _train(params, name, device, MODELS / name)


def _train_in_ranks(params: "Params", arguments: list[str]) -> None:
    """Do what was asked for in `run.ranks` processes, each with this command.

    Raises:
        TryAgainError: One was killed.
    """
    from pipeline.train.ranks.launch import SignalledError, launch
    from stages.signals import Stopped

    verbose = ["-v"] if logging.getLogger().isEnabledFor(logging.DEBUG) else []
    try:
        status = launch(params.run.ranks, "stages.cli", [*verbose, "train", *arguments], params.threads)
    except SignalledError as error:
        raise Stopped(error.number) from error
    raise typer.Exit(status)


def _train_holding_the_lock(params: "Params", name: str, device: str, break_lock: bool) -> "dict[str, TrainResult]":
    from pipeline.store.lock import locked
    from stages.context import MODELS, break_locks
    from stages.leaks import warn_of_leaks

    warn_of_leaks(params, name)
    break_locks(break_lock, MODELS / name)
    with locked(MODELS / name):
        return _train(params, name, device, MODELS / name)


def _train(params: "Params", name: str, device: str, output: Path) -> "dict[str, TrainResult]":
    from dataclasses import asdict

    from pipeline.progress import Silent
    from pipeline.train.ranks.together import ranks
    from pipeline.train.run import train_connection
    from stages.context import PAIRS, ConsoleProgress
    from stages.specs import space_spec

    connection = params.connections[name]
    return train_connection(
        [(link, connection.train_of(link.spaces)) for link in connection.links(name)],
        connection.method,
        PAIRS,
        output,
        seed=params.seed,
        threads=params.threads,
        device=device,
        progress=ConsoleProgress() if ranks().writes else Silent(),
        specs={space: asdict(space_spec(settings)) for space, settings in params.spaces.items()},
    )


def _report(done: "dict[str, TrainResult]") -> None:
    for place, result in done.items():
        if not result.epochs:
            kept = f"in {result.pairs:,} kept, " if result.pairs else ""
            say(f"train {place}: {kept}nothing is trained")
            continue
        say(
            f"train {place}: in {result.pairs:,} = {result.used:,} used in each epoch + "
            f"{result.pairs - result.used:,} left for another epoch; "
            f"{result.computed} of {result.epochs} epochs computed, {result.steps:,} steps"
        )


if __name__ == "__main__":  # torchrun -m stages.train
    import sys

    from stages.cli import main

    sys.argv.insert(1, "train")
    main()
