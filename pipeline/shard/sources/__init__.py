"""Find the raw samples of a corpus, whatever kind of source it comes from; one file of `kinds` for each."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UserError
from pipeline.modalities import source_endings
from pipeline.shard.sources.detect import is_medium, kind_of_file, kind_of_files
from pipeline.shard.sources.kind import SourceKind
from pipeline.shard.sources.known import kind_called
from pipeline.shard.sources.locate import Place, locate
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import LocalFolder, RemoteFolder
from pipeline.shard.sources.sample import RawSample, no_key
from pipeline.shard.sources.unread import Unread, said
from pipeline.shard.sources.walk import Walk

# Endings of archives that nobody unpacked.
PACKED = {".gz", ".tgz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar"}


@dataclass(frozen=True)
class Opened:
    """A source whose kind is known.

    Attributes:
        place: Where it is.
        called: The name of its kind.
        kind: How it is read.
        names: The files that the kind is given.
        walk: Every file of the source.
    """

    place: Place
    called: str
    kind: SourceKind
    names: list[str]
    walk: Walk

    def samples(self, options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
        """Its samples, in its order."""
        return self.kind.read(self.place.folder, self.names, options, unread)


def open_source(source: str, options: SourceOptions) -> Opened:
    """Find out what `source` holds and how it is to be read.

    Raises:
        UserError: The source does not exist, or is of a kind that is not understood.
    """
    place = locate(source)
    if options.index:
        place = locate(f"{source.rstrip('/')}/{options.index}")
    walk = place.walk()
    if options.kind != "auto":
        called = options.kind
    elif place.file:
        called = kind_of_file(place.folder, place.file, source, options)
    else:
        called = kind_of_files(source, walk.names, options)
    kind = kind_called(called)
    if not kind.declares and (declared := {name for name, _ in options.declared} & set(options.modalities)):
        raise UserError(
            f"{source} is read as {called}; {', '.join(sorted(declared))} is declared, and read from folders of files only.",
            "Put its files into a folder, or set the corpus' `kind: folder`.",
        )
    if options.caption_lines and called not in ("folder", "webdataset"):
        raise UserError(
            f"{source} is read as {called}, and `caption_lines` is about the .txt files of a folder or webdataset.",
            "Remove it from the corpus: `captions` alone says what becomes of several captions there.",
        )
    if place.file and called != "folder":
        return Opened(place, called, kind, walk.names, walk)
    # Of a folder's files each is a sample, whose fault a link to nowhere is; of others it would be that of many.
    if called == "folder":
        names = [name for name in walk.names if is_medium(name, options)]
    else:
        names = [name for name in walk.names if kind.is_given(name) and name not in walk.broken]
    return Opened(place, called, kind, names, walk)


def find_samples(source: str | Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """All samples of `source` that hold at least one of the wanted modalities, in the order of the source.

    Args:
        source: Folder, file, pattern or address, or several of them. Each is of a kind of its own, and its keys are what
            they would be without the others; only rows of further files that are numbered have the file's name in front.
        options: How it is to be understood.
        unread: Told of everything in the source that is neither in a sample nor the fault of one.

    Raises:
        UserError: A place does not exist, is of a kind that is not understood, holds no such sample, or has a file that
            another place has, too.
    """
    places = (source,) if isinstance(source, str) else source
    for number, opened in enumerate(open_places(places, options)):
        yield from _samples_of(places[number], opened, replace(options, further=number > 0), unread)


def open_places(places: Sequence[str], options: SourceOptions) -> Iterator[Opened]:
    """Each place of a source, see `open_source`.

    Raises:
        UserError: One cannot be opened, or has a file that one before it has, too.
    """
    known: dict[str, int] = {}
    for number, place in enumerate(places):
        opened = open_source(place, options)
        if len(places) > 1:
            _refuse_files_of_others(places, number, opened, known)
        yield opened


def _refuse_files_of_others(places: Sequence[str], number: int, opened: Opened, known: dict[str, int]) -> None:
    """Take up the files of place `number` among those `known`, by their paths.

    Raises:
        UserError: One of them is known from another place.
    """
    for name in opened.names:
        origin = opened.place.folder.origin(name)
        path = origin if "://" in origin else os.path.realpath(origin)
        if (other := known.setdefault(path, number)) != number:
            message = f"{origin} is in {places[other]} and in {places[number]}."
            raise UserError(message, "Name each place once in the corpus' `source`.")


def _samples_of(source: str, opened: Opened, options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """All samples of one place, and everything else that it holds."""
    count = 0
    named: set[str] = set()
    for sample in opened.samples(options, unread):
        count += 1
        if options.index:
            files = [one for one in sample.members.values() if isinstance(one.container, LocalFolder | RemoteFolder)]
            named.update(os.path.normpath(member.origin) for member in files)
        yield sample
    if options.index:
        _count_unnamed(source, options.index, named, unread)
    given = set(opened.names)
    unread.update(opened.walk.unread)
    for name, reason in opened.walk.broken.items():
        if name not in given:
            yield RawSample(no_key(name), fault=reason)
    for name in opened.walk.names:
        if name not in given and name not in opened.walk.broken:
            unread.file(name)
    if not count:
        wanted = ", ".join(f".{ending}" for modality in options.modalities for ending in source_endings(modality))
        wanted = ", ".join(
            [wanted] * bool(wanted)
            + [f".{end}" for modality, end in options.declared if modality in options.modalities]
        )
        passed = f"; not read: {said(unread.counts())}" if unread.counts() else ""
        raise UserError(
            f"{source} holds no sample of {', '.join(options.modalities)} "
            f"(read as {opened.called}, {len(opened.names)} files{passed}).",
            "Unpack the archives."
            if PACKED & unread.counts().keys()
            else f"Looked for files that end in {wanted}; or set the corpus' `kind`.",
        )


def _count_unnamed(source: str, index: str, named: Collection[str], unread: Unread) -> None:
    """Count the files in the folder `source` that its `index` does not name."""
    place = locate(source)
    walk = place.walk()
    unread.update(walk.unread)
    for name in walk.names:
        if name != index and os.path.normpath(place.folder.origin(name)) not in named:
            unread.file(name)
