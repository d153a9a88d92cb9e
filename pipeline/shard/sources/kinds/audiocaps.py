"""The source kind `audiocaps`: a CSV with `audiocap_id`, `youtube_id`, `start_time`, `caption`, beside a folder of sounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.keys import key_of_name, key_of_path
from pipeline.modalities import AUDIO, TEXT
from pipeline.shard.sources.kinds.captioned import Caption, caption_samples, file_finder, item_samples
from pipeline.shard.sources.kinds.table import csv_rows, require
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.files import files_folder
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawSample, row_name
from pipeline.shard.sources.unread import Unread

COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")


def is_audiocaps(columns: Sequence[str]) -> bool:
    """Whether a CSV with these columns is one of AudioCaps'."""
    return set(COLUMNS) <= set(columns)


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip and the names under which downloaders store it."""

    key: str
    stems: tuple[str, ...]


def read_audiocaps(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """Captions as ``<youtube_id>_<start_time>-<audiocap_id>``, or clips under the part before the last dash.

    A clip's file is looked for as ``<youtube_id>_<start_time>``, ``<youtube_id>``, ``Y<youtube_id>`` and
    ``<audiocap_id>``; a clip without one is a rejected sample, since videos vanish.
    """
    texts = Texts()
    faults: list[RawSample] = []
    clips: dict[str, _Clip] = {}
    captions = _captions(folder, names, texts, clips, faults)
    if options.modalities == (TEXT,):
        yield from caption_samples(captions, texts)
    else:
        held = list(captions)
        files = files_folder(folder, options)
        find = file_finder(files, AUDIO)
        items = ((clip.key, find(clip.stems)) for clip in clips.values())
        yield from item_samples(items, held if TEXT in options.modalities else None, texts, files, options, unread)
    yield from faults


def _captions(
    folder: Folder, names: Sequence[str], texts: Texts, clips: dict[str, _Clip], faults: list[RawSample]
) -> Iterator[Caption]:
    for name in names:
        texts.begin(folder.origin(name))
        for number, row in enumerate(csv_rows(folder, name), 1):
            if isinstance(row, str):
                faults.append(RawSample(row_name(key_of_path(name), number - 1), fault=row))
                continue
            require(COLUMNS, row, folder.origin(name))
            identifier, video, start, text = (str(row[column]) for column in COLUMNS)
            start = start.removesuffix(".0")
            key = key_of_name(f"{video}_{start}")
            clips.setdefault(key, _Clip(key, (f"{video}_{start}", video, f"Y{video}", identifier)))
            yield Caption(key, key_of_name(identifier), text, number)
