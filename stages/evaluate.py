"""`mcr evaluate`: every task of params.yaml becomes rows of one table."""

from pathlib import Path

from stages.options import BreakLock, ParamsFile
from stages.printing import say


def evaluate(params_file: ParamsFile = Path("params.yaml"), break_lock: BreakLock = False) -> None:
    """Measure connections, frozen spaces and baselines on the evaluation sets.

    Example: mcr evaluate && mcr metrics
    """
    from pipeline.evaluate.folders import Folders
    from pipeline.evaluate.run import evaluate as measure
    from pipeline.params.load import load_params
    from pipeline.store.lock import locked
    from stages.context import (
        ANNOTATIONS,
        EMBEDDINGS,
        METRICS,
        MODELS,
        PAIRS,
        ConsoleProgress,
        break_locks,
        device_of,
        set_up_torch,
    )

    params = load_params(params_file)
    set_up_torch(params)
    device = device_of(params)
    folders = Folders(EMBEDDINGS, MODELS, PAIRS, METRICS, ANNOTATIONS)
    break_locks(break_lock, METRICS)
    with locked(METRICS):
        summary = measure(params.evaluate, folders, params.links, params.seed, ConsoleProgress(), device)
    rows = ", ".join(f"{count:,} {name}" for name, count in summary.rows.items())
    say(f"evaluate: {summary.tasks} tasks; {rows} rows in {METRICS}")
