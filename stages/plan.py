"""`mcr plan`: what would run, how much it is, how long it takes, and whether it fits."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import McrError, UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.params.connection import Connection
    from pipeline.params.model import Params
    from pipeline.spaces import Space, SpaceSpec


@dataclass
class Sum:
    """What the lines of the plan add up to."""

    bytes: float = 0.0
    seconds: float = 0.0
    unknown: list[str] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)


def plan(
    probe: Annotated[int, typer.Option(min=0, help="Samples that are embedded to measure the speed; 0: none.")] = 32,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Say what `dvc repro` would run and why, the samples and bytes, the time after a short probe, and the free disk.

    Nothing is written. Ends with 1 if the results do not fit on the disk.

    Example: mcr plan --probe 64
    """
    from pipeline.doctor.storage import dvc
    from pipeline.params.load import load_params
    from stages.context import prepare_torch

    params = load_params(params_file)
    device = prepare_torch(params)
    runs = _print_changes()
    total = Sum()
    _shard(params, runs, total)
    _encode(params, probe, device, total)
    _retrieve(params, runs, probe, device, total)
    rest = [stage for stage in runs if stage.startswith(("train", "evaluate", "report"))]
    if rest:
        total.unknown.append(f"{len(rest)} stages of training, evaluation and report")
    factor = 2 if dvc(Path(".")).link == "copy" else 1
    needed, free = factor * total.bytes, shutil.disk_usage(".").free
    twice = ", twice because the DVC cache copies," if factor == 2 else ""
    say(f"disk: {_size(needed)} to be written{twice} of {_size(free)} free")
    left_out = f", without {'; '.join(total.unknown)}" if total.unknown else ""
    say(f"time: about {_duration(total.seconds)}{left_out}")
    if needed > free:
        raise McrError(
            f"The results need {_size(needed)}, {_size(free)} are free.",
            "Make room, move the project or its DVC cache (`dvc cache dir`), or use a disk whose links are reflinks.",
        )


def _print_changes() -> set[str]:
    """Print what DVC would run; the names of these stages, none where this is no DVC project."""
    from pipeline.plan.changes import stage_changes

    try:
        changes = stage_changes(Path("."))
    except UserError as error:
        say(f"dvc: {error.message}")
        return set()
    say(f"dvc repro would run {len(changes)} stages" + (":" if changes else ": everything is up to date"))
    for change in changes:
        why = "; ".join(change.reasons) or "if what it depends on comes out different"
        say(f"  {change.stage}: {why}")
    return {change.stage for change in changes}


def _shard(params: "Params", runs: set[str], total: Sum) -> None:
    from pipeline.plan.work import bytes_of, finished_shards
    from stages.context import SHARDS

    for name, corpus in params.corpora.items():
        if finished_shards(SHARDS / name) and f"shard@{name}" not in runs:
            continue
        size = bytes_of(corpus.source)
        if size is None:
            total.unknown.append(f"sharding {name}, whose size is not known")
            say(f"shard {name}: the size of {corpus.source} is not known")
            continue
        new = 0 if finished_shards(SHARDS / name) else size
        total.bytes += new
        say(f"shard {name}: {_size(size)} of raw files to read, {_size(new)} to write")


def _encode(params: "Params", probe: int, device: str, total: Sum) -> None:
    from pipeline.plan.work import finished_shards
    from pipeline.spaces import load_space
    from stages.context import SHARDS
    from stages.specs import space_spec

    spaces: dict[str, Space | str] = {}
    for job, entry in params.encode.items():
        corpus = finished_shards(SHARDS / entry.corpus)
        if corpus is None:
            say(f"encode {job}: unknown until {entry.corpus} is sharded")
            total.unknown.append(f"encoding {job}")
            continue
        spec = space_spec(params.spaces[entry.space])
        if entry.space not in spaces:
            try:
                spaces[entry.space] = load_space(spec, device)
            except McrError as error:
                spaces[entry.space] = error.message
        space = spaces[entry.space]
        if isinstance(space, str):
            say(f"encode {job}: {corpus.rows:,} samples; {space}")
            total.unknown.append(f"encoding {job}")
            continue
        total.widths[entry.space] = space.dimension
        held = corpus.fingerprint.get("modalities")
        for modality in space.modalities:
            if isinstance(held, list) and modality in held:
                _encode_modality(params, job, modality, space, spec, probe, device, total)


def _encode_modality(
    params: "Params", job: str, modality: str, space: "Space", spec: "SpaceSpec", probe: int, device: str, total: Sum
) -> None:
    import json
    from dataclasses import asdict

    from pipeline.plan.probe import probe_encode
    from pipeline.plan.work import FLOAT_BYTES, samples_to_encode
    from pipeline.store.shards import open_shards
    from stages.context import EMBEDDINGS, SHARDS

    entry = params.encode[job]
    shards, store = SHARDS / entry.corpus, EMBEDDINGS / entry.space / entry.corpus / modality
    batch_size = params.spaces[entry.space].batch_size
    wanted = {"spec": asdict(spec), "encoder": space.fingerprint(modality), "batch_size": batch_size}
    corpus = open_shards(shards)
    samples, stale = samples_to_encode(corpus, store, json.loads(json.dumps(wanted)))
    if not samples:
        return
    size = samples * space.dimension * FLOAT_BYTES
    said = f"{samples:,} of {corpus.rows:,} samples, {_size(size)}"
    if probe:
        pace = probe_encode(space, modality, shards, min(probe, batch_size))
        seconds = pace.seconds(samples, params.run.workers, device == "cpu")
        total.seconds += seconds
        said += f", {_duration(seconds)} at {samples / max(seconds, 1e-9):,.0f}/s"
    else:
        total.unknown.append(f"encoding {job}")
    total.bytes += size
    say(f"encode {job} {modality}: {said}" + (f"; stale: {'; '.join(stale)}" if stale else ""))


def _retrieve(params: "Params", runs: set[str], probe: int, device: str, total: Sum) -> None:
    from pipeline.plan.probe import operations_per_second
    from stages.context import PAIRS

    speed = operations_per_second(device) if probe else 0.0
    for name, connection in params.connections.items():
        if f"retrieve@{name}" not in runs and any((PAIRS / name).rglob("_manifest.json")):
            continue
        size, operations = _pairs_of(connection, total.widths)
        if size is None or (operations and not speed):
            say(f"retrieve {name}: not estimated")
            total.unknown.append(f"retrieving {name}")
            continue
        seconds = operations / speed if operations else 0.0
        total.bytes += size
        total.seconds += seconds
        say(f"retrieve {name}: {_size(size)}, {operations / 1e9:,.1f} GFLOP, {_duration(seconds)}")


def _pairs_of(connection: "Connection", widths: dict[str, int]) -> tuple[float | None, float]:
    """Bytes of the pseudo-pairs and operations of their exact search; None if a corpus or width is not known yet.

    Every query meets every item of a memory twice, for the similarities and for the average, in both spaces.
    """
    from pipeline.plan.work import FLOAT_BYTES, finished_shards, known_dimension
    from stages.context import EMBEDDINGS, SHARDS

    if connection.method not in ("cmcr", "oracle") or connection.retrieve.search != "exact":
        return None, 0.0
    link = connection.join
    rows: dict[str, int] = {}
    for corpus in {*link.queries, *(name for memory in link.memories.values() for name in memory.corpora)}:
        manifest = finished_shards(SHARDS / corpus)
        if manifest is None:
            return None, 0.0
        rows[corpus] = manifest.rows
    size = operations = 0.0
    queries = sum(rows[corpus] for corpus in link.queries)
    for space, memory in link.memories.items():
        width = widths.get(space) or known_dimension(EMBEDDINGS, space)
        if width is None:
            return None, 0.0
        items = sum(rows[corpus] for corpus in memory.corpora)
        # An embedding of the overlapping modality and a pseudo-partner; the oracle has the true one only.
        size += FLOAT_BYTES * width * (2 * queries if connection.method == "cmcr" else items)
        operations += 4 * queries * items * width
    return size, operations


def _size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
