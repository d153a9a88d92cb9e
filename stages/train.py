"""`mcr train`: pseudo-pairs become the projectors of a connection."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.options import Names, ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.params.connection import Connection
    from pipeline.progress import Progress
    from pipeline.train.fit import TrainResult


def train(names: Names, params_file: ParamsFile = Path("params.yaml")) -> None:
    """Train the projectors of connections.

    A killed run continues at its last checkpoint and ends with the bytes that it would have had.

    Example: mcr train audio_image
    """
    from pipeline.params.load import load_params
    from stages.context import MODELS, PAIRS, ConsoleProgress, prepare_torch
    from stages.leaks import warn_of_leaks
    from stages.options import pick

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    device = prepare_torch(params)
    for name, connection in connections:
        warn_of_leaks(params, name)
        done = train_one(
            name, connection, PAIRS / name, MODELS / name, params.seed, params.threads, device, ConsoleProgress()
        )
        for part, result in done.items():
            say(
                f"train {part}: in {result.pairs:,} = {result.used:,} used in each epoch + "
                f"{result.pairs - result.used:,} left for another epoch; "
                f"{result.computed} of {result.epochs} epochs computed, {result.steps:,} steps"
            )


def train_one(
    name: str,
    connection: "Connection",
    pairs: Path,
    model: Path,
    seed: int,
    threads: int,
    device: str,
    progress: "Progress",
) -> "dict[str, TrainResult]":
    """Train what a connection consists of: both projectors of C-MCR together, each leaf of Ex-MCR by itself."""
    from pipeline.params.connection import BaseConnection
    from pipeline.train.leaves import LeafPlan, train_leaves
    from pipeline.train.run import train_connection

    if not isinstance(connection, BaseConnection):
        result = train_connection(
            pairs,
            model,
            name,
            connection.method,
            connection.train,
            spaces=connection.join.spaces,
            seed=seed,
            threads=threads,
            device=device,
            progress=progress,
        )
        return {name: result}
    leaves = {
        leaf: LeafPlan([pairs / leaf / each for each in connection.sets_of(leaf)], connection.train_of(leaf))
        for leaf in connection.join.leaves
    }
    base = connection.join.base
    results = train_leaves(
        leaves, model, name, connection.method, base, seed=seed, threads=threads, device=device, progress=progress
    )
    return {f"{name}/{leaf}": result for leaf, result in results.items()}
