"""Encode a corpus through a frozen space, shard by shard, into one embedding store per modality."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.encode.ahead import short_turns
from pipeline.encode.fitting import FittingEncoder
from pipeline.encode.prepare import THREADS, Chunk, prepared_chunks
from pipeline.errors import UserError
from pipeline.precision import arithmetic_of
from pipeline.progress import Progress
from pipeline.spaces import Space, SpaceSpec
from pipeline.store.folder import PartFolder
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.parquet import Rows, write_rows
from pipeline.store.reader import EMBEDDING_COLUMN, EMBEDDINGS
from pipeline.store.shards import open_shards

# A unit vector whose norm is further from 1 than this was not normalised, or is zero.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EncodeSettings:
    """How a space is run over a corpus.

    Attributes:
        batch_size: Samples per forward pass.
        workers: How many samples are decoded at the same time, while the model computes.
        max_rejected: Largest share of rejected samples, from 0 to 1.
        device: Where the space computes.
        decode: Where they are decoded, see `prepared_chunks`.
    """

    batch_size: int
    workers: int
    max_rejected: float
    device: str = "cpu"
    decode: str = THREADS


def encode_corpus(
    space: Space,
    name: str,
    spec: SpaceSpec,
    shards: Path,
    folder: Path,
    settings: EncodeSettings,
    progress: Progress,
) -> dict[str, tuple[Manifest, int]]:
    """Encode every modality that the corpus in `shards` has and the space embeds, to ``folder/<modality>``.

    Parts that are committed, intact and made from the same shard by the same fingerprint are kept.

    Returns:
        By modality: the manifest, and how many parts were computed.

    Raises:
        UserError: The space embeds none of the modalities, too many samples were rejected, or a store was begun on
            another kind of device.
        CorruptError: A shard is damaged.
    """
    corpus = open_shards(shards)
    held = corpus.fingerprint["modalities"]
    modalities = [modality for modality in space.modalities if isinstance(held, list) and modality in held]
    if not modalities:
        raise UserError(
            f"Space {name!r} embeds {', '.join(space.modalities)}; {shards} holds none of them.",
            "Remove the job from `encode` in params.yaml.",
        )
    arithmetic = arithmetic_of(settings.device, spec.precision)
    stores = {
        modality: PartFolder(
            folder / modality, EMBEDDINGS, _fingerprint(space, name, spec, modality, settings.batch_size), arithmetic
        )
        for modality in modalities
    }
    with short_turns():
        for modality, store in stores.items():
            stale = [shard for shard in corpus.parts if not store.reuse(_part_name(shard), shard.sha256)]
            if stale:
                store.refuse_mixture()
            progress.start(f"encode {name} {modality}", sum(shard.rows for shard in stale), "samples")
            _encode_parts(space, modality, store, shards, stale, settings, progress)
    return {
        modality: (store.finish(settings.max_rejected, _without(modality, store, corpus.parts)), store.computed)
        for modality, store in stores.items()
    }


def _without(modality: str, store: PartFolder, shards: Sequence[Part]) -> dict[str, int]:
    """How many of the corpus' samples have another modality only, in words for the manifest."""
    held = {part.name: part.samples_in for part in store.manifest.parts}
    count = sum(shard.rows - held[_part_name(shard)] for shard in shards)
    return {f"samples without {modality}": count} if count else {}


def _fingerprint(space: Space, name: str, spec: SpaceSpec, modality: str, batch_size: int) -> dict[str, object]:
    return {
        "space": name,
        "spec": asdict(spec),
        "modalities": list(space.modalities),
        "dimension": space.dimension,
        "modality": modality,
        # Another batch size makes the same embeddings only up to rounding.
        "batch_size": batch_size,
        "encoder": space.fingerprint(modality),
    }


def _part_name(shard: Part) -> str:
    return f"part-{Path(shard.name).stem}.parquet"


def _encode_parts(
    space: Space,
    modality: str,
    store: PartFolder,
    folder: Path,
    shards: Sequence[Part],
    settings: EncodeSettings,
    progress: Progress,
) -> None:
    encode = FittingEncoder(space, modality)
    chunks = prepared_chunks(space, modality, folder, shards, settings.workers, settings.batch_size, settings.decode)
    # One part is written while the next is computed.
    with closing(chunks), ThreadPoolExecutor(1, "write") as writer:
        written: Future[float] | None = None
        for _, own in groupby(chunks, key=lambda chunk: chunk.shard.name):
            part = _encode_part(encode, space.dimension, own, settings, progress)
            if written:
                progress.advance(0, write=written.result())
            written = writer.submit(_commit, store, part)
        if written:
            progress.advance(0, write=written.result())


@dataclass
class _EncodedPart:
    """One shard's embeddings, and the samples without one."""

    shard: Part
    keys: list[str]
    blocks: list[NDArray[np.float32]]
    rejected: list[Failure]


def _commit(store: PartFolder, part: _EncodedPart) -> float:
    """Write the part; how many seconds it took."""
    started = perf_counter()
    rows = Rows(part.keys, {EMBEDDING_COLUMN: np.concatenate(part.blocks)}, {})
    source = part.shard.sha256
    metadata = {"fingerprint": store.manifest.fingerprint, "source": source}
    store.commit(
        _part_name(part.shard), source, part.keys, part.rejected, lambda path: write_rows(path, rows, metadata)
    )
    return perf_counter() - started


def _encode_part(
    encode: FittingEncoder, dimension: int, chunks: Iterator[Chunk], settings: EncodeSettings, progress: Progress
) -> _EncodedPart:
    first = next(chunks)
    part = _EncodedPart(first.shard, [], [np.empty((0, dimension), np.float32)], [])
    for batch in _batches(chain([first], chunks), part.rejected, settings, progress):
        started = perf_counter()
        embeddings = encode(torch.stack([tensor for _, tensor in batch])).numpy()
        good = np.abs(np.linalg.norm(embeddings, axis=1) - 1) < NORM_TOLERANCE  # False for NaN as well
        for (key, _), row, fine in zip(batch, embeddings, good, strict=True):
            if fine:
                part.keys.append(key)
            else:
                what = "is zero" if np.isfinite(row).all() else "is not finite"
                part.rejected.append(Failure(key, "encode", "BadEmbedding", f"the embedding {what}"))
        part.blocks.append(embeddings[good])
        progress.advance(len(batch), compute=perf_counter() - started)
    return part


def _batches(
    chunks: Iterable[Chunk], rejected: list[Failure], settings: EncodeSettings, progress: Progress
) -> Iterator[list[tuple[str, Tensor]]]:
    """The good samples of one part in their order. Rejects would leave short batches; filled up, the cut depends neither
    on where they are nor on the chunks."""
    carry: list[tuple[str, Tensor]] = []
    for chunk in chunks:
        bad = [result for _, result in chunk.samples if isinstance(result, Failure)]
        rejected += bad
        progress.advance(len(bad), read=chunk.read, decode=chunk.decode / settings.workers)
        carry += [(key, result) for key, result in chunk.samples if isinstance(result, Tensor)]
        while len(carry) >= settings.batch_size:
            yield carry[: settings.batch_size]
            carry = carry[settings.batch_size :]
    if carry:
        yield carry
