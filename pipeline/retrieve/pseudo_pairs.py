"""Write the pseudo-pairs of a connection: a folder of parts that resumes where it stopped."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.atomic import atomic_path
from pipeline.errors import UserError
from pipeline.precision import arithmetic_of
from pipeline.progress import Progress
from pipeline.retrieve.cmcr import CmcrPairs
from pipeline.retrieve.coupling import CouplingPairs
from pipeline.retrieve.exmcr import exmcr_pairs
from pipeline.retrieve.method import Example, PairMethod, Solved
from pipeline.retrieve.oracle import OraclePairs
from pipeline.retrieve.plan import PairPlan, fingerprint
from pipeline.retrieve.products import resolved
from pipeline.store import PAIRS, PartFolder, write_rows

# Adding a method is one file and one line here.
METHODS: dict[str, Callable[[PairPlan, str, int], PairMethod]] = {
    "cmcr": CmcrPairs,
    "coupling": CouplingPairs,
    "excoupling": CouplingPairs,
    "exmcr": exmcr_pairs,
    "oracle": OraclePairs,
}

EXAMPLES_NAME = "_examples.parquet"
EXAMPLES_SCHEMA = pa.schema(
    [
        ("query_key", pa.string()),
        ("memory", pa.string()),
        ("rank", pa.int64()),
        ("neighbour_key", pa.string()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
    ]
)


def write_pairs(
    plan: PairPlan, folder: Path, device: str, threads: int, max_rejected: float, progress: Progress
) -> PartFolder:
    """Make the pseudo-pairs of `plan` in `folder`, one part per part of the first space's query stores.

    Parts that an earlier run committed from the same sources are kept.

    Args:
        plan: What to retrieve.
        folder: ``data/pairs/<connection>``; of a set of Ex-MCR ``data/pairs/<connection>/<leaf>/<set>``.
        device: Where to compute, such as ``cpu`` or ``cuda:0``.
        threads: Threads of FAISS; those of torch are the caller's to set.
        max_rejected: Largest share of samples that one space may lack.
        progress: Told of the queries done.

    Returns:
        The finished folder: `manifest` for the accounting, `computed` for the parts made in this run.

    Raises:
        UserError: Stores are missing, unfinished, of different spaces or share no key; too many samples were rejected;
            the folder was begun on another kind of device.
    """
    if plan.method not in METHODS:
        raise UserError(f"There is no method {plan.method!r}.", f"Choose one of: {', '.join(METHODS)}.")
    made_from = fingerprint(plan)
    method = METHODS[plan.method](plan, device, threads)
    if isinstance(method, Solved):
        made_from["solved"] = dict(method.solved)
    # True pairs are copied, whatever the device.
    arithmetic = "" if plan.method == "oracle" else arithmetic_of(device, resolved(plan.settings.precision, device))
    pairs = PartFolder(folder, PAIRS, made_from, arithmetic)
    stale = [part for part in method.parts if not pairs.reuse(part.name, part.source)]
    if stale:
        pairs.refuse_mixture()
    progress.start(f"retrieve {plan.connection}", sum(len(part.keys) for part in stale), "queries")
    for part in stale:
        started = time.perf_counter()
        rows = method.rows(part)
        computed = time.perf_counter()
        write = partial(write_rows, rows=rows, metadata={"kind": PAIRS})
        pairs.commit(part.name, part.source, rows.keys, part.rejected, write)
        progress.advance(len(part.keys), compute=computed - started, write=time.perf_counter() - computed)
    pairs.finish(max_rejected)
    # After `finish`, which removes whatever the manifest does not list.
    write_examples(folder / EXAMPLES_NAME, method.examples())
    return pairs


def write_examples(path: Path, examples: list[Example]) -> None:
    """Write the examples for the report to `path`; an empty table where a method has none."""
    table = pa.Table.from_pylist([asdict(example) for example in examples], schema=EXAMPLES_SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
