"""Encode a corpus through a frozen space, shard by shard, into one embedding store per modality."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import SampleError, UserError
from pipeline.modalities import MODALITY_OF
from pipeline.progress import Progress
from pipeline.spaces import Space, SpaceSpec
from pipeline.store.folder import PartFolder
from pipeline.store.manifest import Failure, Manifest, Part
from pipeline.store.parquet import Rows, write_rows
from pipeline.store.reader import EMBEDDING_COLUMN, EMBEDDINGS
from pipeline.store.shards import ShardSample, open_shards, read_shard, verify_shard

log = logging.getLogger(__name__)

# A unit vector whose norm is further from 1 than this was not normalised, or is zero.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EncodeSettings:
    """How a space is run over a corpus.

    Attributes:
        batch_size: Samples per forward pass.
        workers: Threads that decode while the model computes.
        max_rejected: Largest share of rejected samples, from 0 to 1.
    """

    batch_size: int
    workers: int
    max_rejected: float


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
        UserError: The space embeds none of the modalities, or too many samples were rejected.
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
    stores = {
        modality: PartFolder(
            folder / modality, EMBEDDINGS, _fingerprint(space, name, spec, modality, settings.batch_size)
        )
        for modality in modalities
    }
    progress.start(f"encode {name}", corpus.rows * len(modalities), "samples")
    with ThreadPoolExecutor(settings.workers) as pool:
        for shard in corpus.parts:
            part_name = f"part-{Path(shard.name).stem}.parquet"
            for modality, store in stores.items():
                if store.reuse(part_name, shard.sha256):
                    progress.advance(shard.rows)
                else:
                    _encode_part(space, modality, store, part_name, shards, shard, settings.batch_size, pool, progress)
    return {modality: (store.finish(settings.max_rejected), store.computed) for modality, store in stores.items()}


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


def _encode_part(
    space: Space,
    modality: str,
    store: PartFolder,
    part_name: str,
    shards: Path,
    shard: Part,
    batch_size: int,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    keys: list[str] = []
    blocks = [np.empty((0, space.dimension), np.float32)]
    rejected: list[Failure] = []
    samples = read_shard(verify_shard(shards, shard))
    waited = perf_counter()
    for batch in _batches(space, modality, samples, batch_size, pool, rejected):
        started = perf_counter()
        embeddings = space.encode(modality, torch.stack([tensor for _, tensor in batch])).numpy()
        good = np.abs(np.linalg.norm(embeddings, axis=1) - 1) < NORM_TOLERANCE  # False for NaN as well
        for (key, _), row, fine in zip(batch, embeddings, good, strict=True):
            if fine:
                keys.append(key)
            else:
                what = "is zero" if np.isfinite(row).all() else "is not finite"
                rejected.append(Failure(key, "encode", "BadEmbedding", f"the embedding {what}"))
        blocks.append(embeddings[good])
        finished = perf_counter()
        progress.advance(len(batch), wait_for_data=started - waited, compute=finished - started)
        waited = finished
    rows = Rows(keys, {EMBEDDING_COLUMN: np.concatenate(blocks)}, {})
    metadata = {"fingerprint": store.manifest.fingerprint, "source": shard.sha256}
    store.commit(part_name, shard.sha256, keys, rejected, lambda path: write_rows(path, rows, metadata))


def _batches(
    space: Space,
    modality: str,
    samples: Iterator[ShardSample],
    batch_size: int,
    pool: ThreadPoolExecutor,
    rejected: list[Failure],
) -> Iterator[list[tuple[str, Tensor]]]:
    """Preprocessed samples in their order; while one batch is computed the next is decoded."""

    def prepare(sample: ShardSample) -> tuple[str, Tensor | Failure]:
        payloads = [content for extension, content in sample.members.items() if MODALITY_OF.get(extension) == modality]
        try:
            if not payloads:
                raise SampleError("read", f"the sample has no {modality}")
            return sample.key, space.preprocess(modality, payloads[0])
        except SampleError as error:
            return sample.key, Failure(sample.key, error.step, type(error).__name__, error.message)

    ahead = pool.map(prepare, islice(samples, batch_size))
    carry: list[tuple[str, Tensor]] = []
    while True:
        ready = list(ahead)
        if not ready:
            break
        ahead = pool.map(prepare, list(islice(samples, batch_size)))
        for key, result in ready:
            if isinstance(result, Failure):
                rejected.append(result)
            else:
                carry.append((key, result))
        # Rejects would leave short batches; filled up, the cut does not depend on where they are.
        while len(carry) >= batch_size:
            yield carry[:batch_size]
            carry = carry[batch_size:]
    if carry:
        yield carry
