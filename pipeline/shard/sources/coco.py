"""The source kind `coco`: captions JSON with `images` and `annotations`, beside a folder of pictures."""

from collections.abc import Iterator, Sequence

from pipeline.modalities import TEXT
from pipeline.shard.sources.captioned import Caption, caption_samples, item_samples
from pipeline.shard.sources.json_arrays import stream_arrays
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.rows import files_folder
from pipeline.shard.sources.sample import RawSample, key_of_name
from pipeline.shard.sources.texts import Texts
from pipeline.shard.sources.unread import Unread


def read_coco(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """Captions as ``<image id>-<n>``, or pictures under their image id.

    Raises:
        UserError: A file has no such lists.
    """
    texts = Texts()
    if options.modalities == (TEXT,):
        yield from caption_samples(_captions(folder, names, texts), texts)
        return
    captions = _captions(folder, names, texts) if TEXT in options.modalities else None
    yield from item_samples(_images(folder, names), captions, texts, files_folder(folder, options))


def _captions(folder: Folder, names: Sequence[str], texts: Texts) -> Iterator[Caption]:
    counts: dict[str, int] = {}
    for name in names:
        texts.begin(folder.origin(name))
        with folder.open(name) as file:
            for number, entry in enumerate(stream_arrays(file, "annotations", folder.origin(name)), 1):
                item = key_of_name(str(entry.get("image_id", "")))
                count = counts.get(item, 0)
                counts[item] = count + 1
                yield Caption(item, str(count), entry.get("caption"), number)


def _images(folder: Folder, names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for name in names:
        with folder.open(name) as file:
            for entry in stream_arrays(file, "images", folder.origin(name)):
                picture = entry.get("file_name")
                yield key_of_name(str(entry.get("id", ""))), picture if isinstance(picture, str) else None
