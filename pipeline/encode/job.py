"""Encode a corpus through a frozen space, shard by shard, into one embedding store per modality."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from pipeline.decode.earlier import VERSION
from pipeline.encode.batch_size import find_batch_size
from pipeline.encode.outdated import outdated
from pipeline.encode.part import EncodedShard, EncodeSettings, Encoding
from pipeline.errors import UserError
from pipeline.precision import arithmetic_of
from pipeline.progress import Progress
from pipeline.spaces import Space, SpaceSpec, prepared_for
from pipeline.store import EMBEDDINGS, Manifest, Part, PartFolder, Source, Work, run_parts
from pipeline.store.integrity.preparation import CORPUS_OPTIONS
from pipeline.store.parts.run import ALONE, Execution
from pipeline.store.reader import STORE_AS
from pipeline.store.recorded import recorded_choice
from pipeline.store.shards import open_shards

SIZE = "batch_size"

__all__ = ["EncodeSettings", "encode_corpus"]


def encode_corpus(
    space: Space,
    name: str,
    spec: SpaceSpec,
    shards: Path,
    folder: Path,
    settings: EncodeSettings,
    progress: Progress,
    execution: Execution = ALONE,
    address: str = "",
) -> dict[str, tuple[Manifest, int]]:
    """Encode every modality that the corpus in `shards` has and the space embeds, to ``folder/<modality>``.

    `space` was loaded by `spec` with the corpus' own options, see `prepared_for`; processes of `execution` load it for
    themselves. Parts that are committed, intact and made from the same shard by the same fingerprint are kept.
    If `address` says so, parts lie at ``address/<modality>``, and only manifests and tables in `folder`.

    Returns:
        By modality: the manifest, and how many parts were computed.

    Raises:
        UserError: The space embeds none of the modalities, too many samples were rejected, or a store was begun on
            another kind of device.
        CorruptError: A shard is damaged.
    """
    prepared = prepared_for(spec, settings.options)
    corpus = open_shards(shards)
    held = corpus.fingerprint["modalities"]
    modalities = [modality for modality in space.modalities if isinstance(held, list) and modality in held]
    if not modalities:
        raise UserError(
            f"Space {name!r} embeds {', '.join(space.modalities)}; {shards} holds none of them.",
            "Remove the job from `encode` in params.yaml.",
        )
    arithmetic = arithmetic_of(settings.device, spec.precision)
    finished = {}
    for modality in modalities:
        place = folder / modality
        described = _fingerprint(space, name, spec, modality, settings)
        find = partial(find_batch_size, space, modality, shards, corpus.parts, settings.decode)
        how = replace(
            settings, batch_size=settings.batch_size or _batch_size(place, described, settings, execution, find)
        )
        fingerprint = described | {SIZE: how.batch_size}
        encoding = Encoding(prepared, modality, shards, how, fingerprint, space)
        works = [
            Work(
                _part_name(shard),
                Source(shard.sha256),
                EncodedShard(encoding, shard),
                shard.rows,
                partial(outdated, shards, shard, modality),
            )
            for shard in corpus.parts
        ]
        by, to = (fingerprint, arithmetic, corpus.corpus, VERSION), f"{address}/{modality}" if address else ""
        with PartFolder(place, EMBEDDINGS, *by, execution.share, to) as parts:
            task = f"encode {name} {modality}"
            run_parts(parts, works, task, "samples", progress, execution.engine, encoding.reading_ahead)
            manifest = parts.finish(settings.max_rejected, not_read=_without(modality, parts.parts, corpus.parts))
            finished[modality] = (manifest, parts.computed)
    return finished


def _batch_size(
    store: Path,
    described: Mapping[str, object],
    settings: EncodeSettings,
    execution: Execution,
    find: Callable[[], int],
) -> int:
    """What `store` says, or else what is found out."""
    recorded = recorded_choice(store, described, SIZE)
    if isinstance(recorded, int) and recorded:
        return recorded
    apart = execution.engine is not ALONE.engine and settings.device != "cpu"  # the space here is on the CPU
    if execution.share.partial or apart:
        raise UserError(
            f"{store} has no batch size yet, and each process that shares the work would choose its own.",
            "Write a number as `batch_size` of the space in params.yaml.",
        )
    return find()


def _without(modality: str, parts: Mapping[str, Part], shards: Sequence[Part]) -> dict[str, int]:
    """How many of the corpus' samples have another modality only, in words for the manifest."""
    own = ((shard, parts.get(_part_name(shard))) for shard in shards)
    count = sum(shard.rows - part.samples_in for shard, part in own if part)
    return {f"samples without {modality}": count} if count else {}


def _fingerprint(
    space: Space, name: str, spec: SpaceSpec, modality: str, settings: EncodeSettings
) -> dict[str, object]:
    return {
        "space": name,
        "spec": asdict(spec),
        "modalities": list(space.modalities),
        "dimension": space.dimension,
        "modality": modality,
        # Another batch size makes the same embeddings only up to rounding.
        SIZE: settings.batch_size,
        "encoder": space.fingerprint(modality),
        # Only where there are any, so that earlier embeddings stay valid.
        **({CORPUS_OPTIONS: dict(settings.options)} if settings.options else {}),
        **({STORE_AS: settings.store_as} if settings.store_as != "float32" else {}),
    }


def _part_name(shard: Part) -> str:
    return f"part-{Path(shard.name).stem}.parquet"
