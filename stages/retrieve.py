"""`mcr retrieve`: embedding stores become the pseudo-pairs of a connection."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.options import Names, ParamsFile

if TYPE_CHECKING:
    from pipeline.params.connection import Connection
    from pipeline.retrieve.plan import PairPlan


def retrieve(names: Names, params_file: ParamsFile = Path("params.yaml")) -> None:
    """Make the pseudo-pairs of connections, exactly, over the whole memory.

    Example: mcr retrieve audio_image
    """
    from pipeline.params.load import load_params
    from pipeline.retrieve.pseudo_pairs import write_pairs
    from stages.context import PAIRS, ConsoleProgress, account, prepare_torch
    from stages.options import pick

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    device = prepare_torch(params)
    for name, connection in connections:
        plan = pair_plan(name, connection, params.seed)
        pairs = write_pairs(plan, PAIRS / name, device, params.threads, params.limits.max_rejected, ConsoleProgress())
        account("retrieve", name, pairs.manifest, pairs.computed)


def pair_plan(name: str, connection: "Connection", seed: int) -> "PairPlan":
    """Where a connection's stores lie, from its settings."""
    from pipeline.retrieve.plan import MemoryStores, PairPlan
    from stages.context import EMBEDDINGS

    overlap = connection.overlap or ""
    return PairPlan(
        name,
        connection.method,
        connection.spaces,
        overlap,
        {
            space: tuple(EMBEDDINGS / space / corpus / overlap for corpus in connection.queries)
            for space in connection.spaces
        },
        {
            space: MemoryStores(
                memory.modality, tuple(EMBEDDINGS / space / corpus / memory.modality for corpus in memory.corpora)
            )
            for space, memory in connection.memories.items()
        },
        connection.retrieve,
        seed,
    )
