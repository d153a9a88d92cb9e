"""Turn a corpus into reproducible shards: same input, same bytes; what is written once does not move."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import TarError
from typing import cast

from pipeline.errors import UserError
from pipeline.modalities import SOURCE_MODALITY_OF, modality_of
from pipeline.plugins import SOURCES, made_by
from pipeline.progress import Progress
from pipeline.shard.duplicates import DUPLICATES_NAME, Duplicates, write_duplicates
from pipeline.shard.members import Conversion
from pipeline.shard.part import ShardPart
from pipeline.shard.repeats import check_repeats
from pipeline.shard.samples import Checked, check_sample
from pipeline.shard.settings import CorpusSettings, source_options
from pipeline.shard.sources import find_samples
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.sample import RawSample, shown_key
from pipeline.shard.sources.unread import Unread
from pipeline.store import Manifest, Part, PartFolder, Work, run_parts
from pipeline.store.content.hashes import CONTENTS_NAME, write_contents
from pipeline.store.integrity.overlap import refuse_overlap
from pipeline.store.parts.names import number_of, numbered
from pipeline.store.shards import SHARDS, shard_keys

log = logging.getLogger(__name__)

CODE_VERSION = 1
NO_CONVERSION = Conversion()


@dataclass(frozen=True)
class ShardSettings:
    """How a corpus is cut; see `CorpusSettings` for the meaning of each value."""

    modalities: tuple[str, ...]
    samples_per_shard: int
    duplicates: str
    max_rejected: float
    drop_duplicates: bool = False
    conversion: Conversion = NO_CONVERSION
    keep_repeated: bool = False


def settings_of(corpus: CorpusSettings, max_rejected: float) -> tuple[ShardSettings, SourceOptions]:
    """What `build_shards` needs to know of a corpus in params.yaml; `max_rejected` is what holds for all corpora."""
    share = max_rejected if corpus.max_rejected is None else corpus.max_rejected
    conversion = Conversion(corpus.max_side or 0, corpus.points, corpus.sampling_seed)
    settings = ShardSettings(
        corpus.modalities, corpus.samples_per_shard, corpus.duplicates, share, corpus.drop_duplicates, conversion,
        keep_repeated=corpus.repeated == "keep",
    )  # fmt: skip
    return settings, source_options(corpus)


def build_shards(
    source: Path | str | Sequence[str],
    folder: Path,
    settings: ShardSettings,
    progress: Progress,
    options: SourceOptions | None = None,
) -> tuple[Manifest, int]:
    """Write the corpus in `source` as shards to `folder`.

    Assignment is append-only: a sample that is in a shard stays there, new samples go to new shards. A shard is
    written again only if one of its samples changed or vanished. Samples with the same bytes are listed in
    ``_duplicates.parquet``; they stay unless `settings.drop_duplicates`. Hashes of all raw bytes are in
    ``_contents.parquet``.

    Args:
        source: Folder, file, pattern or address, or several of them.
        folder: Where the shards go.
        settings: How the corpus is cut.
        progress: Told how far the work is.
        options: How the source is to be understood; None: as it looks.

    Returns:
        The manifest, and how many shards were written (the others were up to date).

    Raises:
        UserError: No such source, a duplicate key under the policy ``error``, an evaluation set in which a file stands
            under several keys, or too many rejected samples.
    """
    options = options or SourceOptions(settings.modalities)
    places = (str(source),) if isinstance(source, Path | str) else tuple(source)
    for place in (*places, options.files):
        # Patterns name files, which lie below no folder of ours.
        if place and "://" not in place and Path(place).exists():
            refuse_overlap(Path(place), folder)
    unread = Unread()
    found, again = _by_key(find_samples(places, options, unread), settings.duplicates, ", ".join(places))
    dropped = _same_bytes(found, settings) if settings.drop_duplicates else []
    for key, _ in dropped:
        del found[key]
    with PartFolder(folder, SHARDS, _fingerprint(settings, options), corpus=folder.name) as shards:
        plan = _assign(sorted(found), shards.earlier_parts, folder, settings.samples_per_shard)
        works = []
        for name, keys in plan.items():
            part = ShardPart([(found[key], again[key]) for key in keys], settings.modalities, settings.conversion)
            works.append(Work(name, part.source, part, len(keys)))
        sources = run_parts(shards, works, "shard", "samples", progress)
        checked = [one for source in sources for one in cast(list[Checked], source.found)]
        repeated = dropped or _duplicates(checked)
        contents = _contents(checked)
        check_repeats(contents, settings.modalities, settings.keep_repeated, folder)
        tables: dict[str, Callable[[Path], None]] = {
            CONTENTS_NAME: partial(write_contents, rows=contents),
            DUPLICATES_NAME: partial(write_duplicates, rows=repeated),
        }
        manifest = shards.finish(settings.max_rejected, tables, unread.counts())
        _warn_of_duplicates(folder, repeated, settings.drop_duplicates)
        _warn_of_lines(folder, checked)
        return manifest, shards.computed


def _fingerprint(settings: ShardSettings, options: SourceOptions) -> dict[str, object]:
    found: dict[str, object] = {"modalities": sorted(settings.modalities), "code": CODE_VERSION}
    if code := made_by(SOURCES, options.kind):
        found |= {"kind": options.kind, **code}
    if converted := settings.conversion.fingerprint(settings.modalities):
        found["convert"] = converted
    return found


def _by_key(samples: Iterable[RawSample], duplicates: str, source: str) -> tuple[dict[str, RawSample], Counter[str]]:
    """The first sample of each key, and how many more there are of a key."""
    first: dict[str, RawSample] = {}
    again: Counter[str] = Counter()
    example: tuple[RawSample, RawSample] | None = None
    for sample in samples:
        key = shown_key(sample.key)
        known = first.setdefault(key, sample)
        if known is not sample:
            again[key] += 1
            example = example or (known, sample)
    if example and duplicates == "error":
        known, other = example
        raise UserError(
            f"{len(again)} keys of {source} occur more than once, such as {shown_key(known.key)!r} "
            f"({known.origin} and {other.origin}).",
            "Give every sample a key of its own, or set the corpus' `duplicates: first` to keep the first of each. Folders that "
            "one pattern matches (`data/raw/{a,b}`) have their names in the keys.",
        )
    return first, again


def _same_bytes(found: Mapping[str, RawSample], settings: ShardSettings) -> list[tuple[str, str]]:
    """Keys of usable samples whose bytes an earlier key holds, and that key."""
    return _duplicates(check_sample(found[key], 0, settings.modalities)[0] for key in sorted(found))


def _duplicates(checked: Iterable[Checked]) -> list[tuple[str, str]]:
    duplicates = Duplicates()
    for one in checked:
        if one.members:
            duplicates.add(one.key, [digest for _, digest in one.members])
    return duplicates.rows()


def _contents(checked: Iterable[Checked]) -> list[tuple[str, str, str]]:
    return [
        (one.key, SOURCE_MODALITY_OF.get(extension) or modality_of(extension), digest)
        for one in checked
        for extension, digest in one.members
    ]


def _warn_of_duplicates(folder: Path, duplicates: list[tuple[str, str]], dropped: bool) -> None:
    if duplicates:
        key, first = duplicates[0]
        log.warning(
            "%s: %d samples hold the same bytes as another (such as %s and %s) and were %s; see _duplicates.parquet",
            folder, len(duplicates), key, first, "left out" if dropped else "kept",
        )  # fmt: skip


def _warn_of_lines(folder: Path, checked: Sequence[Checked]) -> None:
    """Several lines in every .txt are hardly one caption: say what to set if they are several."""
    texts = [one for one in checked if one.lines]
    if texts and min(one.lines for one in texts) > 1:
        log.warning(
            "%s: every .txt has several lines (%s has %d), and each file was taken as one text. If each line is a caption, "
            "as in clip-benchmark's tars, set the corpus' `caption_lines: true` and `captions: all`.",
            folder, texts[0].key, texts[0].lines,
        )  # fmt: skip


def _assign(
    keys: Sequence[str], earlier: Mapping[str, Part], folder: Path, samples_per_shard: int
) -> dict[str, list[str]]:
    """Keys of each shard: where a key was before it stays, the others fill new shards in their order."""
    present = set(keys)
    plan: dict[str, list[str]] = {}
    for name, part in sorted(earlier.items()):
        try:
            held = set(shard_keys(folder / name)) | {failure.key for failure in part.rejected}
        except (OSError, TarError):
            log.info("%s/%s cannot be read: its samples are assigned again", folder, name)
            continue
        if held & present:
            plan[name] = sorted(held & present)
            present -= held
    fresh = [key for key in keys if key in present]
    number = max((number_of(name) or 0 for name in plan), default=-1) + 1
    for start in range(0, len(fresh), samples_per_shard):
        plan[f"{numbered(number)}.tar"] = fresh[start : start + samples_per_shard]
        number += 1
    return plan
