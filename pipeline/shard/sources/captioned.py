"""What caption data sets have in common: items (a picture, a sound), each with a file and several captions."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.modalities import SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.shard.sources.texts import Texts

log = logging.getLogger(__name__)

# Keys up to the last one of these are the item: `evaluate` finds the captions of an item by it.
ITEM_SEPARATOR = "-"


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
    items: Iterable[tuple[str, str | None]], captions: Iterable[Caption] | None, texts: Texts, files: Folder
) -> Iterator[RawSample]:
    """One sample for each item, under the item's key: its file, and its first caption if `captions` are given.

    Args:
        items: Key and file of each item; None for a file that is not there.
        captions: Captions of all items, or None where no text is wanted.
        texts: Keeps the captions.
        files: Folder of the files.
    """
    first: dict[str, RawMember] = {}
    further = 0
    for caption in captions or ():
        if caption.item in first:
            further += 1
        elif member := texts.add(caption.text, caption.row):
            first[caption.item] = member
    if further:
        log.info(
            "%d captions are not the first of their item and are left out; a corpus with `modalities: [text]` of the "
            "same source holds all captions.",
            further,
        )
    for item, name in items:
        members: dict[str, RawMember] = {}
        if name is not None:
            extension = name.rpartition(".")[2].lower()
            members[SOURCE_MODALITY_OF.get(extension, "")] = RawMember(extension, files, name)
        if captions is not None and item in first:
            members[TEXT] = first[item]
        yield RawSample(item, members, "" if safe(name) else "the file's name leads out of its folder")


def safe(name: str | None) -> bool:
    """Whether a file name from a data set stays below the folder that it is meant for."""
    return name is None or not (name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"))


def file_finder(files: Folder, modality: str) -> Callable[[Iterable[str]], str | None]:
    """Finds the file of an item among those of `modality`, given the stems under which it may be stored."""
    by_stem: dict[str, str] = {}
    for name in files.walk().names:
        stem, _, extension = name.rpartition("/")[2].rpartition(".")
        if SOURCE_MODALITY_OF.get(extension.lower()) == modality:
            by_stem.setdefault(stem, name)
    return lambda stems: next((by_stem[stem] for stem in stems if stem in by_stem), None)
