"""How much each stage has to do, as far as it can be known before it is done."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.errors import McrError
from pipeline.links import Link
from pipeline.plan.pairs import Cost, Sizes, cost_of
from pipeline.plan.probe import operations_per_second, probe_encode
from pipeline.plan.work import NUMBER_BYTES, bytes_of, finished_shards, known_dimension, samples_to_encode
from pipeline.spaces import Space, SpaceSpec, load_space, prepared_for
from pipeline.store.integrity.preparation import CORPUS_OPTIONS
from pipeline.store.reader import STORE_AS


@dataclass(frozen=True)
class Estimate:
    """What one step would do.

    Attributes:
        said: In words, with the name of the step in front.
        bytes: What it writes.
        seconds: What it takes.
        unknown: What of it could not be estimated; empty if everything could.
    """

    said: str
    bytes: float = 0.0
    seconds: float = 0.0
    unknown: str = ""


@dataclass(frozen=True)
class EncodeJob:
    """A corpus that goes through a space."""

    name: str
    space: str
    corpus: str
    spec: SpaceSpec
    batch_size: int
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    store_as: str = "float32"


@dataclass(frozen=True)
class Machine:
    """What the work is done with.

    Attributes:
        device: Where embeddings and products are computed.
        workers: Threads that prepare samples.
        probe: Samples that are embedded to measure the speed; 0: nothing is measured.
    """

    device: str
    workers: int
    probe: int


def shard_estimates(sources: Mapping[str, Sequence[str]], shards: Path, runs: Collection[str]) -> Iterator[Estimate]:
    """Of every corpus that is not sharded, or that DVC would shard again (`runs`)."""
    for name, places in sources.items():
        done = finished_shards(shards / name)
        if done and f"shard@{name}" not in runs:
            continue
        sizes = [size for place in places if (size := bytes_of(place)) is not None]
        if len(sizes) < len(places):
            said = f"shard {name}: the size of {', '.join(places)} is not known"
            yield Estimate(said, unknown=f"sharding {name}, whose size is not known")
            continue
        size = sum(sizes)
        new = 0 if done else size
        yield Estimate(f"shard {name}: {in_bytes(size)} of raw files to read, {in_bytes(new)} to write", new)


def encode_estimates(
    jobs: Sequence[EncodeJob], shards: Path, embeddings: Path, machine: Machine, widths: dict[str, int]
) -> Iterator[Estimate]:
    """Of every job that has samples to embed; the width of every space that could be loaded is added to `widths`."""
    spaces: dict[str, Space | str] = {}
    for job in jobs:
        unknown = f"encoding {job.name}"
        corpus = finished_shards(shards / job.corpus)
        if corpus is None:
            yield Estimate(f"encode {job.name}: unknown until {job.corpus} is sharded", unknown=unknown)
            continue
        loaded = json.dumps([job.space, dict(job.options)])
        if loaded not in spaces:
            try:
                spaces[loaded] = load_space(prepared_for(job.spec, job.options), machine.device)
            except McrError as error:
                spaces[loaded] = error.message
        space = spaces[loaded]
        if isinstance(space, str):
            yield Estimate(f"encode {job.name}: {corpus.rows:,} samples; {space}", unknown=unknown)
            continue
        widths[job.space] = space.dimension
        held = corpus.fingerprint.get("modalities")
        for modality in space.modalities:
            if isinstance(held, list) and modality in held:
                store = embeddings / job.space / job.corpus / modality
                yield from _of_modality(job, modality, space, shards / job.corpus, store, machine)


def _of_modality(
    job: EncodeJob, modality: str, space: Space, shards: Path, store: Path, machine: Machine
) -> Iterator[Estimate]:
    corpus = finished_shards(shards)
    assert corpus
    wanted: dict[str, object] = {
        "spec": asdict(job.spec),
        "encoder": space.fingerprint(modality),
        # Left open, it is what the embeddings say.
        **({"batch_size": job.batch_size} if job.batch_size else {}),
    }
    wanted[CORPUS_OPTIONS] = dict(job.options) or None  # as an earlier store says that it has none
    wanted[STORE_AS] = None if job.store_as == "float32" else job.store_as
    samples, stale = samples_to_encode(corpus, store, json.loads(json.dumps(wanted)))
    if not samples:
        return
    size, seconds = samples * space.dimension * NUMBER_BYTES[job.store_as], 0.0
    said = f"encode {job.name} {modality}: {samples:,} of {corpus.rows:,} samples, {in_bytes(size)}"
    if machine.probe:
        pace = probe_encode(space, modality, shards, min(machine.probe, job.batch_size or machine.probe))
        seconds = pace.seconds(samples, machine.workers, machine.device == "cpu")
        said += f", {in_time(seconds)} at {samples / max(seconds, 1e-9):,.0f}/s"
    said += f"; stale: {'; '.join(stale)}" if stale else ""
    yield Estimate(said, size, seconds, "" if machine.probe else f"encoding {job.name}")


def pair_estimates(
    connections: Mapping[str, Sequence[tuple[Link, str, int]]],
    shards: Path,
    embeddings: Path,
    machine: Machine,
    widths: Mapping[str, int],
) -> Iterator[Estimate]:
    """Of the pairs of every connection in `connections`: by name its links, each with what its pairs are
    (`Method.pairs`) and the partners drawn for each sample.
    """
    speed = operations_per_second(machine.device) if machine.probe else 0.0
    for name, links in connections.items():
        total, unknown = Cost(0.0, 0.0), ""
        for link, kind, draws in links:
            sizes = _sizes(link, draws, shards, embeddings, widths)
            if isinstance(sizes, str):
                unknown = sizes
                break
            total += cost_of(link, kind, sizes)
        if unknown:
            yield Estimate(f"retrieve {name}: unknown until {unknown}", unknown=f"retrieving {name}")
            continue
        said = f"retrieve {name}: {in_bytes(total.bytes)}, {total.operations / 1e9:,.1f} GFLOP"
        if total.operations and not speed:
            yield Estimate(said, total.bytes, unknown=f"retrieving {name}")
            continue
        seconds = total.operations / speed if total.operations else 0.0
        yield Estimate(f"{said}, {in_time(seconds)}", total.bytes, seconds)


def _sizes(link: Link, draws: int, shards: Path, embeddings: Path, widths: Mapping[str, int]) -> Sizes | str:
    """How much `link` joins; in words, what has to be done before that is known."""
    rows: dict[str, int] = {}
    for corpus in link.corpora:
        manifest = finished_shards(shards / corpus)
        if manifest is None:
            return f"{corpus} is sharded"
        rows[corpus] = manifest.rows
    found = {space: widths.get(space) or known_dimension(embeddings, space) for space in link.spaces}
    if missing := [space for space, width in found.items() if width is None]:
        return f"{missing[0]} can be loaded, or has embedded something"
    items = {space: sum(rows[corpus] for corpus in memory.corpora) for space, memory in link.memories.items()}
    queries = sum(rows[corpus] for corpus in link.queries)
    return Sizes(queries, items, {space: width for space, width in found.items() if width}, draws)


def in_bytes(count: float) -> str:
    """A number of bytes for people."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def in_time(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 * 4 else f"{seconds / 86400:,.0f} days"
