"""`mcr train`: pairs become the projectors of a connection."""

from pathlib import Path

from stages.options import BreakLock, Names, ParamsFile
from stages.printing import say


def train(names: Names, params_file: ParamsFile = Path("params.yaml"), break_lock: BreakLock = False) -> None:
    """Train the projectors of connections.

    A killed run continues at its last checkpoint and ends with the bytes that it would have had.

    Example: mcr train audio_image
    """
    from dataclasses import asdict

    from pipeline.params.load import load_params
    from pipeline.store.lock import locked
    from pipeline.train.run import train_connection
    from stages.context import MODELS, PAIRS, ConsoleProgress, break_locks, device_of, set_up_torch
    from stages.leaks import warn_of_leaks
    from stages.options import pick
    from stages.specs import space_spec

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    set_up_torch(params)
    device = device_of(params)
    for name, connection in connections:
        warn_of_leaks(params, name)
        break_locks(break_lock, MODELS / name)
        with locked(MODELS / name):
            done = train_connection(
                [(link, connection.train_of(link.spaces)) for link in connection.links(name)],
                connection.method,
                PAIRS,
                MODELS / name,
                seed=params.seed,
                threads=params.threads,
                device=device,
                progress=ConsoleProgress(),
                specs={space: asdict(space_spec(settings)) for space, settings in params.spaces.items()},
            )
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
