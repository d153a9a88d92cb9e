"""The source kind `coco`: captions JSON with `images` and `annotations`, beside a folder of pictures."""

from collections.abc import Iterator, Sequence

from pipeline.keys import key_of_name
from pipeline.modalities import TEXT
from pipeline.shard.sources.kinds.captioned import Caption, caption_samples, item_samples
from pipeline.shard.sources.kinds.lines import prefixes, text_file
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.files import files_folder
from pipeline.shard.sources.readers.json_arrays import stream_arrays
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawSample, row_name
from pipeline.shard.sources.unread import Unread


def read_coco(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """Captions as ``<image id>-<n>``, or pictures under their image id.

    Raises:
        UserError: A file has no such lists.
    """
    texts = Texts()
    faults: list[RawSample] = []
    if options.modalities == (TEXT,):
        yield from caption_samples(_captions(folder, names, texts, faults, options), texts)
    else:
        captions = _captions(folder, names, texts, faults, options) if TEXT in options.modalities else None
        images = _images(folder, names, faults, options)
        yield from item_samples(images, captions, texts, files_folder(folder, options), options, unread)
    yield from faults


def _captions(
    folder: Folder, names: Sequence[str], texts: Texts, faults: list[RawSample], options: SourceOptions
) -> Iterator[Caption]:
    counts: dict[str, int] = {}
    for name, prefix in zip(names, prefixes(names, options), strict=True):
        texts.begin(folder.origin(name))
        with text_file(folder, name) as file:
            for number, entry in enumerate(stream_arrays(file, "annotations", folder.origin(name)), 1):
                item = _key(entry, "image_id")
                if not item:
                    faults.append(RawSample(row_name(f"{prefix}annotation", number), fault="it has no image_id"))
                    continue
                count = counts.get(item, 0)
                counts[item] = count + 1
                yield Caption(item, str(count), entry.get("caption"), number)


def _images(
    folder: Folder, names: Sequence[str], faults: list[RawSample], options: SourceOptions
) -> Iterator[tuple[str, str | None]]:
    for name, prefix in zip(names, prefixes(names, options), strict=True):
        with text_file(folder, name) as file:
            for number, entry in enumerate(stream_arrays(file, "images", folder.origin(name))):
                item = _key(entry, "id")
                if not item:
                    faults.append(RawSample(row_name(f"{prefix}image", number), fault="it has no id"))
                    continue
                picture = entry.get("file_name")
                yield item, picture if isinstance(picture, str) else None


def _key(entry: object, name: str) -> str:
    """The key that an entry names; empty if it is not an object, or names none."""
    value = entry.get(name) if isinstance(entry, dict) else None
    return key_of_name(str(value)) if isinstance(value, int | str) and value != "" else ""
