"""`mcr evaluate`: every task of params.yaml becomes rows of one table."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.evaluate.sources import ConnectionData
    from pipeline.params.connection import Connection, Link


def evaluate(params_file: ParamsFile = Path("params.yaml")) -> None:
    """Measure connections, frozen spaces and baselines on the evaluation sets.

    Example: mcr evaluate && mcr metrics
    """
    from pipeline.evaluate.run import evaluate as measure
    from pipeline.evaluate.sources import Folders
    from pipeline.params.load import load_params
    from stages.context import ANNOTATIONS, EMBEDDINGS, METRICS, MODELS, PAIRS, ConsoleProgress, prepare_torch

    params = load_params(params_file)
    device = prepare_torch(params)
    connections = {name: connection_data(connection) for name, connection in params.connections.items()}
    folders = Folders(EMBEDDINGS, MODELS, PAIRS, METRICS, ANNOTATIONS)
    summary = measure(params.evaluate, folders, connections, params.seed, ConsoleProgress(), device)
    rows = ", ".join(f"{count:,} {name}" for name, count in summary.rows.items())
    say(f"evaluate: {summary.tasks} tasks; {rows} rows in {METRICS}")


def connection_data(connection: "Connection") -> "ConnectionData":
    """What a connection was made from, in the evaluation's own words."""
    from pipeline.evaluate.sources import ConnectionData
    from pipeline.params.connection import BaseConnection

    if not isinstance(connection, BaseConnection):
        return _link_data(connection.join.spaces, connection.join, "")
    leaves = {
        leaf: _link_data((connection.join.base, leaf), link, connection.sets_of(leaf)[0])
        for leaf, link in connection.join.leaves.items()
    }
    return ConnectionData(connection.join.spaces, leaves=leaves)


def _link_data(spaces: tuple[str, str], link: "Link", pairs: str) -> "ConnectionData":
    from pipeline.evaluate.sources import ConnectionData, Memory

    memories = {space: Memory(memory.modality, memory.corpora) for space, memory in link.memories.items()}
    return ConnectionData(spaces, link.overlap or "", link.queries, memories, pairs=pairs)
