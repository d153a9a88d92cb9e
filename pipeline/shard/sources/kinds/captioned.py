"""What caption data sets have in common: items (a picture, a sound), each with a file and several captions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.errors import SampleError
from pipeline.modalities import RARE, SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.files import file_member
from pipeline.shard.sources.readers.texts import FURTHER, Texts
from pipeline.shard.sources.sample import ITEM_SEPARATOR, RawMember, RawSample
from pipeline.shard.sources.unread import Unread


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of an item.

    Attributes:
        item: Key of the item.
        name: What tells it from the other captions of the item.
        text: The caption itself.
        row: Where it stands in its file.
    """

    item: str
    name: str
    text: object
    row: int


def caption_samples(captions: Iterable[Caption], texts: Texts) -> Iterator[RawSample]:
    """A text corpus: one sample for each caption, under the key ``<item>-<name>``."""
    for caption in captions:
        yield texts.sample(f"{caption.item}{ITEM_SEPARATOR}{caption.name}", caption.text, caption.row)


def item_samples(
    items: Iterable[tuple[str, str | None]],
    captions: Iterable[Caption] | None,
    texts: Texts,
    files: Folder,
    options: SourceOptions,
    unread: Unread,
) -> Iterator[RawSample]:
    """One sample for each item, under the item's key: its file, and its captions if `captions` are given.

    Args:
        items: Key and file of each item; None for a file that is not there.
        captions: Captions of all items, or None where no text is wanted.
        texts: Keeps the captions.
        files: Folder of the files.
        options: Whether all captions of an item are taken or the first.
        unread: Told of captions that are passed over.
    """
    first: dict[str, RawMember] = {}
    every = options.captions == "all"
    for caption in captions or ():
        sample = texts.sample(f"{caption.item}{ITEM_SEPARATOR}{caption.name}", caption.text, caption.row)
        if every or sample.fault:
            yield replace(sample, wanted=(TEXT,))
        elif caption.item in first:
            unread.add(FURTHER)
        else:
            first[caption.item] = sample.members[TEXT]
    wanted = tuple(modality for modality in options.modalities if modality != TEXT) if every else ()
    for item, name in items:
        text = first.pop(item, None)
        try:
            member = file_member(files, name) if name is not None else None
        except SampleError as error:
            yield RawSample(item, fault=error.message)
        else:
            members = {SOURCE_MODALITY_OF[member.extension]: member} if member else {}
            yield RawSample(item, members | ({TEXT: text} if text else {}), wanted=wanted)
    unread.add("captions of no item", len(first))


def file_finder(files: Folder, modality: str) -> Callable[[Iterable[str]], str | None]:
    """Finds the file of an item among those of `modality`, given the stems under which it may be stored."""
    by_stem: dict[str, str] = {}
    rare: dict[str, str] = {}
    for name in files.walk().names:
        stem, _, extension = name.rpartition("/")[2].rpartition(".")
        if SOURCE_MODALITY_OF.get(extension.lower()) == modality:
            (rare if extension.lower() in RARE else by_stem).setdefault(stem, name)
    by_stem = rare | by_stem
    return lambda stems: next((by_stem[stem] for stem in stems if stem in by_stem), None)
