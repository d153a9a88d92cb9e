"""WebDataset tars as the shards of a corpus, where they lie: read and hashed once, listed, never copied, moved or removed."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from pipeline.errors import CorruptError, McrError, SampleError, UserError
from pipeline.hashing import sha256_json, sha256_keys
from pipeline.progress import Progress
from pipeline.shard.adopted_tar import INSTEAD, read_tar
from pipeline.shard.duplicates import DUPLICATES_NAME, write_duplicates
from pipeline.shard.findings import Findings
from pipeline.shard.repeats import check_repeats
from pipeline.shard.samples import Checked
from pipeline.shard.sources import open_places
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import LocalFolder
from pipeline.shard.sources.unread import Unread
from pipeline.store import Made, Manifest, Part, PartFolder, Source, Work
from pipeline.store.content.hashes import CONTENTS_NAME, read_contents, write_contents
from pipeline.store.integrity.overlap import refuse_overlap
from pipeline.store.manifest import MANIFEST_NAME, read_manifest
from pipeline.store.parts.names import number_of, numbered
from pipeline.store.parts.work import Record
from pipeline.store.scratch import scratch_database
from pipeline.store.shards import SHARDS

log = logging.getLogger(__name__)

CODE_VERSION = 1
UNUSABLE = "tars that cannot be adopted"


def adopt_tars(
    places: Sequence[str],
    folder: Path,
    options: SourceOptions,
    max_rejected: float,
    keep_repeated: bool,
    progress: Progress,
) -> tuple[Manifest, int]:
    """List the tars at `places` as the shards of the corpus in `folder`.

    A tar keeps its number; new ones get the next. One that was adopted before is read again only if it changed: a local one
    by size, times and inode, one at an address by what the store calls its content. What is wrong with single files is found
    when they are encoded.

    Args:
        places: Folders, files, patterns or addresses.
        folder: Of the manifest and the tables.
        options: How the source is to be understood, and which modalities are wanted.
        max_rejected: Largest share of tars that may be unusable.
        keep_repeated: Whether items with the same file are items of their own.
        progress: Told how far the work is.

    Returns:
        The manifest, and how many tars were read.

    Raises:
        UserError: There are no tars, a key is in two of them, no sample has a wanted modality, or too many are unusable.
    """
    unread, refused = Unread(), dict[str, str]()
    tars = list(_tars(places, folder, options, unread, refused))
    found = len(tars) + len(refused)
    wanted = options.modalities
    fingerprint = {"modalities": sorted(wanted), "adopted": CODE_VERSION}
    with (
        scratch_database(folder) as database,
        PartFolder(folder, SHARDS, fingerprint, corpus=folder.name, address=None) as shards,
    ):
        findings = Findings(database, "found")
        address_of = _numbers(tars, shards.earlier_parts)
        works = {name: Work(name, Source(sha256_json(address)), _nobody) for name, address in address_of.items()}
        intact = {name: shards.parts[name] for name, work in works.items() if shards.reuse(work)}
        known = set()
        for name, checked in _known(folder, intact):
            findings.add(name, checked)
            known.add(name)
        new = [name for name in works if name not in known]
        shards.plan([works[name] for name in new])
        progress.start("adopt", len(new), "tars")
        for name in new:
            try:
                part, checked = read_tar(name, address_of[name], folder, wanted)
            except (CorruptError, SampleError) as error:
                refused[address_of[name]] = str(error)
                log.warning("%s cannot be adopted: %s", address_of[name], error)
                continue
            shards.adopt(Record(part, "", Source(part.source)))
            findings.add(name, checked)
            progress.advance(1)
        _check_tars(refused, found, max_rejected)
        _check_keys(findings, places)
        check_repeats(findings.repeated(), wanted, keep_repeated, folder)
        for what, count in _lacking(findings, wanted, sum(part.rows for part in shards.parts.values()), places):
            unread.add(what, count)
        unread.add(UNUSABLE, len(refused))
        copies = findings.copies()
        tables: dict[str, Callable[[Path], None]] = {
            CONTENTS_NAME: lambda path: write_contents(path, findings.members()),
            DUPLICATES_NAME: lambda path: write_duplicates(path, copies),
        }
        return shards.finish(max_rejected, tables, unread.counts()), shards.computed


def _tars(
    places: Sequence[str], folder: Path, options: SourceOptions, unread: Unread, refused: dict[str, str]
) -> Iterator[str]:
    """Address of each tar, in the order of the source; one that is missing is refused, and everything else counted."""
    for place, opened in zip(places, open_places(places, options), strict=True):
        if opened.called != "webdataset":
            raise UserError(f"{place} is read as {opened.called}, but only WebDataset tars can be adopted.", INSTEAD)
        if isinstance(opened.place.folder, LocalFolder):
            refuse_overlap(Path(opened.place.folder.root or "."), folder)
        unread.update(opened.walk.unread)
        broken = opened.walk.broken
        missing = {name: why for name, why in broken.items() if name.endswith("/") or opened.kind.is_given(name)}
        for name, reason in missing.items():
            refused[opened.place.folder.origin(name)] = reason
            log.warning("%s cannot be adopted: %s", opened.place.folder.origin(name), reason)
        counted = missing.keys() | opened.names
        for name in opened.walk.names:
            if name not in counted:
                unread.file(name)
        for name in opened.names:
            origin = opened.place.folder.origin(name)
            yield origin if "://" in origin else f"file://{Path(origin).absolute()}"


def _numbers(tars: Sequence[str], earlier: Mapping[str, Part]) -> dict[str, str]:
    """The address of each shard by its name, in the order of the names."""
    before = {part.location.address: name for name, part in earlier.items() if part.location}
    names = {before[address]: address for address in tars if address in before}
    number = max((number_of(name) or 0 for name in earlier), default=-1) + 1
    fresh = (address for address in tars if address not in before)
    names |= {f"{numbered(place)}.tar": address for place, address in enumerate(fresh, number)}
    return dict(sorted(names.items()))


def _nobody(path: Path, progress: Progress) -> Made:
    raise AssertionError("an adopted tar is written by nobody")


def _known(folder: Path, parts: Mapping[str, Part]) -> Iterator[tuple[str, list[Checked]]]:
    """What the table of the last run that finished says of the samples of `parts`."""
    if not (parts and (folder / MANIFEST_NAME).is_file() and (folder / CONTENTS_NAME).is_file()):
        return
    try:
        rows = groupby(read_contents(folder), itemgetter(0))
        for part in read_manifest(folder / MANIFEST_NAME).parts:
            some = [
                Checked(key, [[modality, digest.hex()] for _, modality, digest in members], [])
                for key, members in islice(rows, part.rows)
            ]
            now = parts.get(part.file_name)
            # Of samples without a wanted file the table says nothing; then the tar itself is asked.
            if sha256_keys(one.key for one in some) != part.keys_sha256:
                return
            if now and now.sha256 == part.sha256:
                yield part.file_name, some
    except McrError as error:
        log.info("%s: what the tars hold is read from them (%s)", folder, error.message)


def _check_tars(refused: dict[str, str], count: int, max_rejected: float) -> None:
    if refused and len(refused) > max_rejected * count:
        address, reason = next(iter(refused.items()))
        raise UserError(
            f"{len(refused)} of {count} tars cannot be adopted, more than limits.max_rejected = {max_rejected:g}: "
            f"{address}: {reason}",
            INSTEAD,
        )


def _check_keys(findings: Findings, places: Iterable[str]) -> None:
    if again := findings.repeated_keys():
        count, key = again
        raise UserError(f"{count} keys of {', '.join(places)} are in several tars, such as {key!r}.", INSTEAD)


def _lacking(
    findings: Findings, wanted: Sequence[str], samples: int, places: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """How many samples have no file of each wanted modality, in words."""
    held = Counter(findings.counts())
    for modality in wanted:
        if samples and not held[modality]:
            raise UserError(
                f"The tars of {', '.join(places)} hold no {modality}.",
                f"Looked for it by the files' endings. {INSTEAD}",
            )
        yield f"samples without {modality}", samples - held[modality]
