"""`mcr retrieve`: embedding stores become the pseudo-pairs of a connection."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.options import Names, ParamsFile

if TYPE_CHECKING:
    from pipeline.params.connection import Connection, Link
    from pipeline.retrieve.plan import PairPlan
    from pipeline.retrieve.settings import SearchSettings


def retrieve(names: Names, params_file: ParamsFile = Path("params.yaml")) -> None:
    """Make the pseudo-pairs of connections, exactly, over the whole memory.

    Example: mcr retrieve audio_image
    """
    from pipeline.params.load import load_params
    from pipeline.retrieve.pseudo_pairs import write_pairs
    from pipeline.store.prune import keep_only
    from stages.context import PAIRS, ConsoleProgress, account, prepare_torch
    from stages.options import pick

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    device = prepare_torch(params)
    for name, connection in connections:
        plans = pair_plans(name, connection, params.seed)
        for place, plan in plans.items():
            pairs = write_pairs(
                plan, PAIRS / place, device, params.threads, params.limits.max_rejected, ConsoleProgress()
            )
            account("retrieve", place, pairs.manifest, pairs.computed)
        keep_only(PAIRS / name, [PAIRS / place for place in plans])


def pair_plans(name: str, connection: "Connection", seed: int) -> "dict[str, PairPlan]":
    """What a connection retrieves, by folder below data/pairs: one set of C-MCR, one per leaf and set with a base."""
    from dataclasses import replace

    from pipeline.params.connection import BaseConnection

    if not isinstance(connection, BaseConnection):
        return {
            name: _plan(name, connection.method, connection.join.spaces, connection.join, connection.retrieve, seed)
        }
    plans: dict[str, PairPlan] = {}
    for leaf, link in connection.join.leaves.items():
        settings = connection.retrieve_of(leaf)
        plan = _plan(f"{name}/{leaf}", connection.method, (connection.join.base, leaf), link, settings, seed)
        for centre in connection.sets_of(leaf):
            plans[f"{name}/{leaf}/{centre}".rstrip("/")] = replace(plan, centre=centre or "overlap")
    return plans


def _plan(
    name: str, method: str, spaces: tuple[str, str], link: "Link", settings: "SearchSettings", seed: int
) -> "PairPlan":
    """Where the stores lie that join two spaces."""
    from pipeline.retrieve.plan import MemoryStores, PairPlan
    from stages.context import EMBEDDINGS

    overlap = link.overlap or ""
    queries = {space: tuple(EMBEDDINGS / space / corpus / overlap for corpus in link.queries) for space in spaces}
    memories = {
        space: MemoryStores(
            memory.modality, tuple(EMBEDDINGS / space / corpus / memory.modality for corpus in memory.corpora)
        )
        for space, memory in link.memories.items()
    }
    return PairPlan(name, method, spaces, overlap, queries, memories, settings, seed)
