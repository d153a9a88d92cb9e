"""Shards, bytes, memory, time and network of every stage, from the size of a corpus and the rates of a machine."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pipeline.plan.estimates import in_bytes, in_time
from pipeline.plan.scale.described import DescribedCorpus
from pipeline.plan.scale.rates import Rate, Rates
from pipeline.plan.work import NUMBER_BYTES
from pipeline.store.manifest import Part
from pipeline.store.parts.names import path_in_folder

# What the driver of a stage holds of each part: entry of source and part, unit of work, look of the file (measured).
PART_BYTES = 2_000
# What `mcr shard` holds beside that, whatever the corpus (benchmarks/scale/many_samples.py).
SHARD_BYTES = 0.3e9
# Of the projectors of C-MCR for 4,096 pairs of width 512, forwards and backwards (benchmarks/train.py).
STEP_OPERATIONS = 189e9
STEP_PAIRS = 4096
COLUMNS = 4  # embeddings of a pair: of the overlapping modality and of a memory, in two spaces


@dataclass(frozen=True)
class Machines:
    """What the work is done with.

    Attributes:
        devices: GPUs, or processes on CPUs.
        cores: Cores that decode for each of them.
    """

    devices: int
    cores: int


@dataclass(frozen=True)
class Need:
    """What one stage needs.

    Attributes:
        stage: Its name.
        said: What there is of it, in words.
        bytes: What it writes.
        memory: The most bytes that one process holds, beside libraries, the model and its batches.
        seconds: How long it takes on all machines together.
        network: Bytes per second that each device has to be fed with from outside; 0 where that is little.
        limit: What it waits for.
    """

    stage: str
    said: str
    bytes: float
    memory: float
    seconds: float
    network: float = 0.0
    limit: str = ""

    def line(self) -> str:
        """The need as one line."""
        fed = f", {in_bytes(self.network)}/s into each device" if self.network else ""
        return (
            f"{self.stage:<9} {self.said}: {in_bytes(self.bytes)} to be written, {in_bytes(self.memory)} in memory, "
            f"{in_time(self.seconds)}{f' ({self.limit})' if self.limit else ''}{fed}"
        )


def needs(corpus: DescribedCorpus, rates: Rates, machines: Machines) -> Iterator[Need]:
    """What each stage of a connection needs, whose queries are the corpus."""
    parts = math.ceil(corpus.samples / corpus.samples_per_shard)
    listed = parts * manifest_bytes()
    driver = parts * PART_BYTES
    yield _shard(corpus, rates, machines, parts, SHARD_BYTES + driver, listed)
    yield _encode(corpus, rates, machines, parts, driver, listed)
    yield _retrieve(corpus, rates, machines, parts)
    yield _train(corpus, rates, machines)


def manifest_bytes() -> int:
    """Bytes of one part in a manifest."""
    part = Part(path_in_folder("part-a100000.parquet"), 10_000, "0" * 64, "0" * 64, "0" * 64, (), "cuda bf16", 1, 0)
    return len(json.dumps(asdict(part), indent=1))


def _shard(corpus: DescribedCorpus, rates: Rates, machines: Machines, parts: int, memory: float, listed: float) -> Need:
    size = corpus.samples * corpus.bytes_per_sample
    planning, writing = corpus.samples / rates.plan.value, size / rates.write.value / machines.devices
    said = f"{parts:,} shards; {in_time(planning)} to plan in one process, {in_time(writing)} to write in {machines.devices}"
    return Need("shard", said, size + listed, memory, planning + writing, limit="none of it with `adopt: true`")


def _encode(
    corpus: DescribedCorpus, rates: Rates, machines: Machines, parts: int, memory: float, listed: float
) -> Need:
    forward = forward_rate(corpus, rates).value
    decode = rates.decode.value * machines.cores
    rate = min(forward, decode)
    size = corpus.samples * (corpus.width * NUMBER_BYTES[corpus.store_as] + 16)  # and a key
    limit = f"{rate:,.0f}/s a device: {'its model' if forward <= decode else f'the decoding of {machines.cores} cores'}"
    seconds = corpus.samples / rate / machines.devices
    said = f"{parts:,} parts of {corpus.store_as}"
    return Need("encode", said, size + listed, memory, seconds, rate * corpus.bytes_per_sample, limit)


def _retrieve(corpus: DescribedCorpus, rates: Rates, machines: Machines, parts: int) -> Need:
    held = min(corpus.memory, corpus.samples)
    # Every query meets both memories twice, for the similarity and for the average.
    operations = 2 * 4 * corpus.samples * held * corpus.width
    seconds = operations / (rates.products.value * rates.aggregation.value) / machines.devices
    said = f"{corpus.samples:,.0f} queries, two memories of {held:,.0f}"
    size = corpus.samples * COLUMNS * corpus.width * 4
    return Need("retrieve", said, size, 2 * held * corpus.width * 4, seconds, limit=f"{operations:.1e} operations")


def _train(corpus: DescribedCorpus, rates: Rates, machines: Machines) -> Need:
    pairs = min(corpus.pairs, corpus.samples)
    steps = corpus.epochs * math.ceil(pairs / corpus.batch_size)
    step = rates.step.value if rates.step else STEP_OPERATIONS / rates.products.value / rates.forward_share.value
    # The products of the loss grow with the square of the batch, those of the projectors with the batch.
    step *= (corpus.batch_size / STEP_PAIRS) ** (2 if corpus.batch_size > STEP_PAIRS else 1)
    said = f"{steps:,} steps of {corpus.batch_size:,} of {pairs:,.0f} pairs on one device"
    return Need(
        "train", said, 8e6, pairs * COLUMNS * corpus.width * 4, steps * step, limit=f"{step * 1e3:.2f} ms a step"
    )


def forward_rate(corpus: DescribedCorpus, rates: Rates) -> Rate:
    """Samples that one device embeds in a second: as measured for ViT-B/32, or from the products, for this tower."""
    usual = DescribedCorpus(samples=1).operations_per_sample
    if rates.forward:
        scaled = rates.forward.value * usual / corpus.operations_per_sample
        return Rate(scaled, rates.forward.origin)
    value = rates.products.value * rates.forward_share.value / corpus.operations_per_sample
    return Rate(value, f"{rates.forward_share.value:g} of the products, {rates.products.origin}")
