"""The evaluate stage: every task, one set of tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.folders import Folders
from pipeline.evaluate.results.headlines import headlines
from pipeline.evaluate.results.tables import Tables
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.tasks.classification import evaluate_classification
from pipeline.evaluate.tasks.geometry import evaluate_geometry
from pipeline.evaluate.tasks.localisation import evaluate_localisation
from pipeline.evaluate.tasks.retrieval import evaluate_retrieval
from pipeline.evaluate.tasks.tagging import evaluate_tagging
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.links import Link
from pipeline.progress import Progress, Silent
from pipeline.store.integrity.made_from import write_made_from

# A new kind of task is one file and one line here (and its settings in the union `Task`).
TASKS: dict[str, Callable[[TaskRun[Any]], None]] = {
    "retrieval": evaluate_retrieval,
    "classification": evaluate_classification,
    "tagging": evaluate_tagging,
    "geometry": evaluate_geometry,
    "localisation": evaluate_localisation,
}


@dataclass(frozen=True)
class Summary:
    """What one run of the stage wrote: tasks, and rows by table."""

    tasks: int
    rows: dict[str, int]


def evaluate(
    settings: EvaluateSettings,
    folders: Folders,
    connections: Mapping[str, Sequence[Link]],
    seed: int,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Summary:
    """Measure all tasks of `settings` and write the tables to ``folders.metrics``.

    Equal inputs, seed and number of threads give equal bytes.

    Args:
        settings: Tasks and how they are measured.
        folders: Where to read and write.
        connections: By name: the links of each connection.
        seed: Of every draw.
        progress: Where the advance is shown.
        device: Where products of large matrices are computed.

    Raises:
        UserError: A task names a connection, a space or a store that is not there or does not fit.
    """
    progress, tables = progress or Silent(), Tables()
    folders.used.clear()
    for name, task in settings.tasks.items():
        TASKS[task.task](TaskRun(name, task, settings, folders, connections, seed, progress, device, tables))
    files = tables.write(folders.metrics, headlines(settings, tables.measured))
    write_made_from(folders.metrics, folders.used, folders.roots, files)
    return Summary(len(settings.tasks), tables.rows)
