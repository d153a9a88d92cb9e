"""Turn a corpus into reproducible shards: same input, same bytes; what is written once does not move."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.errors import UserError
from pipeline.plugins import SOURCES, made_by
from pipeline.progress import Progress
from pipeline.shard.catalogue import Catalogue
from pipeline.shard.duplicates import DUPLICATES_NAME, write_duplicates
from pipeline.shard.findings import Copies, Findings
from pipeline.shard.held import held_keys
from pipeline.shard.members import Conversion
from pipeline.shard.part import ShardPart
from pipeline.shard.repeats import check_repeats
from pipeline.shard.samples import Checked, check_sample
from pipeline.shard.settings import CorpusSettings, source_options
from pipeline.shard.sources import find_samples
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.unread import Unread
from pipeline.store import Manifest, PartFolder, Work, run_parts
from pipeline.store.content.hashes import CONTENTS_NAME, write_contents
from pipeline.store.integrity.overlap import refuse_overlap
from pipeline.store.parts.run import ALONE, Execution
from pipeline.store.scratch import scratch_database
from pipeline.store.shards import SHARDS

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
    execution: Execution = ALONE,
    address: str = "",
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
        execution: Where the shards are written.
        address: Where they go instead; manifest and tables stay in `folder`.

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
    with scratch_database(folder) as database:
        catalogue = Catalogue(database)
        for sample in find_samples(places, options, unread):
            catalogue.add(sample)
        catalogue.sort()
        _check_keys(catalogue, settings.duplicates, ", ".join(places))
        findings = Findings(database, "found")
        dropped = settings.drop_duplicates and _drop_copies(catalogue, Findings(database, "first look"), settings)
        made_by_these = _fingerprint(settings, options)
        with PartFolder(folder, SHARDS, made_by_these, corpus=folder.name, address=address) as shards:
            guess = lambda number: catalogue.uncut(number, settings.samples_per_shard)  # noqa: E731
            for name, held in held_keys(folder, shards.earlier_parts, guess):
                catalogue.hold(name, sorted(held))
            works = []
            for name, count in catalogue.cut(settings.samples_per_shard):
                part = ShardPart(catalogue.samples(name), settings.modalities, settings.conversion)
                works.append(Work(name, part.source, part, count))
            seen = lambda work, source: findings.add(work.name, cast(list[Checked], source.found))  # noqa: E731
            run_parts(shards, works, "shard", "samples", progress, execution.engine, seen=seen, in_order=True)
            check_repeats(findings.repeated(), settings.modalities, settings.keep_repeated, folder)
            copies = dropped or findings.copies()
            tables: dict[str, Callable[[Path], None]] = {
                CONTENTS_NAME: lambda path: write_contents(path, findings.members()),
                DUPLICATES_NAME: lambda path: write_duplicates(path, copies),
            }
            manifest = shards.finish(settings.max_rejected, tables, unread.counts())
            _warn_of_duplicates(folder, copies, settings.drop_duplicates)
            _warn_of_lines(folder, findings)
            return manifest, shards.computed


def _fingerprint(settings: ShardSettings, options: SourceOptions) -> dict[str, object]:
    found: dict[str, object] = {"modalities": sorted(settings.modalities), "code": CODE_VERSION}
    if code := made_by(SOURCES, options.kind):
        found |= {"kind": options.kind, **code}
    if converted := settings.conversion.fingerprint(settings.modalities):
        found["convert"] = converted
    return found


def _check_keys(catalogue: Catalogue, duplicates: str, source: str) -> None:
    repeated = catalogue.repeated()
    if repeated and duplicates == "error":
        count, known, other = repeated
        raise UserError(
            f"{count} keys of {source} occur more than once, such as {known.key!r} ({known.origin} and {other.origin}).",
            "Give every sample a key of its own, or set the corpus' `duplicates: first` to keep the first of each. Folders that "
            "one pattern matches (`data/raw/{a,b}`) have their names in the keys.",
        )


def _drop_copies(catalogue: Catalogue, look: Findings, settings: ShardSettings) -> Copies | None:
    """Leave out usable samples whose bytes an earlier key holds; None if there is none."""
    for sample, _ in catalogue.all():
        look.add("", [check_sample(sample, 0, settings.modalities)[0]])
    copies = look.copies()
    catalogue.drop(key for key, _ in copies)
    return copies or None


def _warn_of_duplicates(folder: Path, copies: Copies, dropped: bool) -> None:
    if copies:
        key, first = next(iter(copies))
        log.warning(
            "%s: %d samples hold the same bytes as another (such as %s and %s) and were %s; see _duplicates.parquet",
            folder, len(copies), key, first, "left out" if dropped else "kept",
        )  # fmt: skip


def _warn_of_lines(folder: Path, findings: Findings) -> None:
    """Several lines in every .txt are hardly one caption: say what to set if they are several."""
    if findings.several_lines:
        key, lines = findings.several_lines
        log.warning(
            "%s: every .txt has several lines (%s has %d), and each file was taken as one text. If each line is a caption, "
            "as in clip-benchmark's tars, set the corpus' `caption_lines: true` and `captions: all`.",
            folder, key, lines,
        )  # fmt: skip
