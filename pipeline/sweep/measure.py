"""Measure the variants of one connection by the task of a sweep."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.links import Link
from pipeline.progress import Progress
from pipeline.store.parquet import read_table
from pipeline.sweep.settings import Ablation


def measure(
    ablation: Ablation,
    trained: Mapping[str, tuple[str, int]],
    links: Sequence[Link],
    method: str,
    settings: EvaluateSettings,
    folders: Folders,
    seed: int,
    progress: Progress,
    device: str,
) -> pd.DataFrame:
    """The metric of every trained variant, one row each: task, metric, row, seed, value.

    Args:
        ablation: What they are compared by.
        trained: By folder of the model: the row of the sweep and the seed that it was trained for.
        links: Of the connection that they are variants of.
        method: Its method.
        settings: The tasks as params.yaml has them.
        folders: Where to read and write.
        seed: Of every draw of the evaluation.
        progress: Where the advance is shown.
        device: Where products of large matrices are computed.

    Raises:
        UserError: The task has no such metric in that direction.
    """
    task = settings.tasks[ablation.task].model_copy(
        update={"connections": tuple(trained), "space": "", "baselines": ""}
    )
    changed = settings.model_copy(
        update={"tasks": {ablation.task: task}, "headlines": {}, "bootstrap": 0, "examples": 0}
    )
    evaluate(changed, folders, dict.fromkeys(trained, links), seed, progress, device)
    table = read_table(folders.metrics / "metrics.parquet").to_pandas()
    own = table.method == method  # Not the same with its hubs corrected.
    table = table[own & (table.metric == ablation.metric) & (table.direction == ablation.direction)]
    if table.empty:
        raise UserError(
            f"The task {ablation.task} has no {ablation.metric!r} in the direction {ablation.direction!r}.",
            "Choose from what `mcr metrics --direction all` shows.",
        )
    rows, seeds = ({each: found[at] for each, found in trained.items()} for at in (0, 1))
    values = {"row": table.connection.map(rows), "seed": table.connection.map(seeds), "value": table.value}
    return pd.DataFrame({"task": ablation.task, "metric": ablation.metric, **values})
