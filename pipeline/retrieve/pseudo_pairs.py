"""Write one set of pairs: a folder of parts that resumes where it stopped."""

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from inspect import getattr_static
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from pipeline.methods import implementation, method_called
from pipeline.progress import Progress
from pipeline.retrieve.earlier import Earlier
from pipeline.retrieve.joined import JoinedPart
from pipeline.retrieve.maker import Neighbour, PairMaker, Solved
from pipeline.retrieve.memory.products import arithmetic
from pipeline.retrieve.pair_set import PairSet, fingerprint, stores_hash
from pipeline.store import PAIRS, Made, PartFolder, Source, Work, run_parts, write_rows
from pipeline.store.kept import kept
from pipeline.store.parquet import write_table
from pipeline.store.parts.prune import remove
from pipeline.store.parts.run import ALONE, Execution, one_by_one
from pipeline.store.parts.work import Record

EXAMPLES_NAME = "_examples.parquet"
# For what a maker wants to find again after a kill; gone when the pairs are finished.
SCRATCH = "_profiles"
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
    wanted: PairSet,
    folder: Path,
    device: str,
    threads: int,
    max_rejected: float,
    progress: Progress,
    execution: Execution = ALONE,
    address: str = "",
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
        execution: Where the parts are made, and which of them.
        address: Where they go instead; manifest and examples stay in `folder`.

    Returns:
        The finished folder: `manifest` for the accounting, `computed` for the parts made in this run.

    Raises:
        UserError: Stores are missing, unfinished, of different spaces or share no key; too many samples were rejected;
            the folder was begun on another kind of device.
    """
    method = method_called(wanted.method)
    made_from = fingerprint(wanted)
    wanted, earlier = replace(wanted, scratch=folder / SCRATCH), Earlier(folder)
    pairing = Pairing(wanted, device, threads, made_from)
    maker = pairing.maker
    made_from["sources"] = {column: stores_hash(folders) for column, folders in maker.shared.items()}
    # Not `isinstance`, which asks for the value: that takes all samples, and an earlier run may have it.
    if getattr_static(maker, "solved", None) is not None:
        made_from["solved"] = earlier.solved(made_from) or dict(cast(Solved, maker).solved)
    # True pairs are copied, whatever the device.
    kind = "" if method.is_bound else arithmetic(wanted.settings.precision, device)
    works = [Work(part.name, Source(part.source), PairPart(pairing, part), len(part.keys)) for part in maker.parts]
    with PartFolder(folder, PAIRS, made_from, kind, share=execution.share, address=address) as pairs:
        task = f"retrieve {wanted.link.label}"
        run_parts(pairs, works, task, "queries", progress, execution.engine, pairing.make_parts)
        pairs.finish(
            max_rejected, {EXAMPLES_NAME: partial(_write_examples, maker, earlier.table(EXAMPLES_NAME, pairs))}
        )
    if (folder / SCRATCH).is_dir() and not execution.share.partial:
        remove(folder / SCRATCH)
    return pairs


class Pairing:
    """What the parts of one set have in common. Pickled without its maker, which another process builds for itself and keeps.

    Args:
        wanted: What to retrieve.
        device: Where to compute.
        threads: Threads of FAISS.
        made_from: Fingerprint of the set and of all that its rows depend on: what a maker that is kept must agree with.
    """

    def __init__(self, wanted: PairSet, device: str, threads: int, made_from: Mapping[str, object]) -> None:
        self._how = (wanted, device, threads)
        self._made_from = made_from
        self._maker: PairMaker | None = self._build()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maker": None}

    @property
    def maker(self) -> PairMaker:
        """The maker of this process."""
        self._maker = self._maker or kept("pairs", (self._how, self._made_from), self._build)
        return self._maker

    def _build(self) -> PairMaker:
        build = implementation(method_called(self._how[0].method).pair_maker, "pipeline.retrieve")
        maker: PairMaker = build(*self._how)
        return maker

    def make_parts(self, folder: Path, works: Iterable[Work], progress: Progress) -> Generator[Record, None, None]:
        """How one process makes parts: memories first, then one part after the other."""
        _ = self.maker
        yield from one_by_one(folder, works, progress)


@dataclass(frozen=True)
class PairPart:
    """Makes one part of the pairs; see `pipeline.store.parts.work.Make`."""

    pairing: Pairing
    part: JoinedPart

    def __call__(self, path: Path, progress: Progress) -> Made:
        """Write the part to the file `path`."""
        started = time.perf_counter()
        rows = self.pairing.maker.rows(self.part)
        computed = time.perf_counter()
        digest = write_rows(path, rows, {"kind": PAIRS})
        progress.advance(len(self.part.keys), compute=computed - started, write=time.perf_counter() - computed)
        return Made(rows.keys, self.part.rejected, sha256=digest)


def _write_examples(maker: PairMaker, earlier: bytes | None, path: Path) -> None:
    """Write the examples, or those of an earlier run with the same parts."""
    if earlier is None:
        write_examples(path, maker.examples())
    else:
        path.write_bytes(earlier)


def write_examples(path: Path, examples: list[Neighbour]) -> None:
    """Write the examples for the report to the file `path`; an empty table where a method has none."""
    table = pa.Table.from_pylist([asdict(example) for example in examples], schema=EXAMPLES_SCHEMA)
    write_table(path, table)
