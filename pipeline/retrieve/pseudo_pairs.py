"""Write one set of pairs: a folder of parts that resumes where it stopped."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.methods import code, method_called
from pipeline.precision import arithmetic_of
from pipeline.progress import Progress
from pipeline.retrieve.joined import JoinedPart
from pipeline.retrieve.maker import Neighbour, PairMaker, Solved
from pipeline.retrieve.memory.products import resolved
from pipeline.retrieve.pair_set import PairSet, fingerprint, stores_hash
from pipeline.store import PAIRS, Made, PartFolder, Source, Work, run_parts, write_rows
from pipeline.store.parquet import write_table

EXAMPLES_NAME = "_examples.parquet"
EXAMPLES_SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("query_key", pa.string()),
        ("memory", pa.string()),
        ("rank", pa.int64()),
        ("neighbour_key", pa.string()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
    ]
)


def write_pairs(
    wanted: PairSet, folder: Path, device: str, threads: int, max_rejected: float, progress: Progress
) -> PartFolder:
    """Make the pairs of `wanted` in `folder`, one part for each part of the stores that the queries come from.

    Parts that an earlier run committed from the same sources are kept.

    Args:
        wanted: What to retrieve.
        folder: ``data/pairs/<connection>/<link>/<set>``.
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
    method = method_called(wanted.method)
    build = code(method.pair_maker, "pipeline.retrieve")
    made_from = fingerprint(wanted)
    maker: PairMaker = build(wanted, device, threads)
    made_from["sources"] = {column: stores_hash(folders) for column, folders in maker.shared.items()}
    if isinstance(maker, Solved):
        made_from["solved"] = dict(maker.solved)
    # True pairs are copied, whatever the device.
    arithmetic = "" if method.is_bound else arithmetic_of(device, resolved(wanted.settings.precision, device))
    works = [Work(part.name, Source(part.source), partial(_write, maker, part), len(part.keys)) for part in maker.parts]
    with PartFolder(folder, PAIRS, made_from, arithmetic) as pairs:
        run_parts(pairs, works, f"retrieve {wanted.link.label}", "queries", progress)
        pairs.finish(max_rejected, {EXAMPLES_NAME: lambda path: write_examples(path, maker.examples())})
    return pairs


def _write(maker: PairMaker, part: JoinedPart, path: Path, progress: Progress) -> Made:
    started = time.perf_counter()
    rows = maker.rows(part)
    computed = time.perf_counter()
    write_rows(path, rows, {"kind": PAIRS})
    progress.advance(len(part.keys), compute=computed - started, write=time.perf_counter() - computed)
    return Made(rows.keys, part.rejected)


def write_examples(path: Path, examples: list[Neighbour]) -> None:
    """Write the examples for the report to the file `path`; an empty table where a method has none."""
    table = pa.Table.from_pylist([asdict(example) for example in examples], schema=EXAMPLES_SCHEMA)
    write_table(path, table)
