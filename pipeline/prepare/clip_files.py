"""The files that a clip becomes, one picture and one sound or those of its seconds, and the record of them."""

import json
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import write_bytes
from pipeline.prepare.seconds import Numbers, Seconds
from pipeline.prepare.video import Taken
from pipeline.prepare.video_sets import VideoSet

UNREADABLE = "It says which files mcr cut made: restore it, or move it, audio/ and frames/ away."
SETTINGS = "settings"
KEPT = "kept"  # in an entry: files of the clip that somebody else put there
Found = Taken | Seconds | SampleError


def are_there(root: Path, clip: str, chosen: VideoSet, numbers: Numbers, entry: Mapping[str, object]) -> bool:
    """Whether the files that the record's `entry` says of are there."""
    found = [path.is_file() for path in files_of(root, clip, chosen, numbers)]
    # Of listed frames some may be beyond the end of the video; the record says how many there are.
    return sum(found) == entry.get("files") if numbers else all(found)


def files_of(root: Path, clip: str, chosen: VideoSet, numbers: Numbers) -> list[Path]:
    """The files that a clip becomes at most."""
    if numbers:
        sounds = [_sound(root, clip, second) for second in numbers]
        return [*sounds, *(_frame(root, clip, second, each) for second in numbers for each in numbers[second])]
    return [root / "audio" / f"{clip}.wav", *([root / "frames" / f"{clip}.jpg"] if chosen.picture else [])]


def _sound(root: Path, clip: str, second: int) -> Path:
    return root / "audio" / clip / f"frame_{second:03d}.wav"


def _frame(root: Path, clip: str, second: int, number: int) -> Path:
    return root / "frames" / clip / f"frame_{second:03d}" / f"{number:05d}.jpg"


def write_clip(
    root: Path, clip: str, taken: Found, chosen: VideoSet, numbers: Numbers, kept: Set[Path]
) -> dict[str, object]:
    """Write what was taken out of a video and remove what was taken before, but leave what is `kept`; what the record says of it."""
    files: dict[Path, bytes] = {}
    if isinstance(taken, SampleError):
        entry: dict[str, object] = {"error": taken.message}
    elif isinstance(taken, Seconds):
        files = {_sound(root, clip, second): sound for second, sound in taken.sounds.items()}
        for second, listed in numbers.items():
            files |= {
                _frame(root, clip, second, each): taken.pictures[each] for each in listed if each in taken.pictures
            }
        entry = {
            "frames": len(taken.pictures),
            "of": sum(map(len, numbers.values())),
            "seconds": len(taken.sounds),
            "files": len(files.keys() | kept),
            "rate": taken.rate,
        }
    else:
        contents = {root / "audio" / f"{clip}.wav": taken.sound, root / "frames" / f"{clip}.jpg": taken.picture}
        files = {path: content for path, content in contents.items() if content}
        entry = {"frame_at": taken.frame_at, "sound": taken.span, "rate": taken.rate}
    for path in files.keys() - kept:
        write_bytes(path, files[path])
    for path in {*files_of(root, clip, chosen, numbers)} - files.keys() - kept:
        path.unlink(missing_ok=True)
    return entry | in_record(root, kept)


def in_record(root: Path, kept: Set[Path]) -> dict[str, object]:
    """What the record says of files that are `kept`."""
    return {KEPT: [path.relative_to(root).as_posix() for path in sorted(kept)]} if kept else {}


def listed_as_cut(record: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Entries of clips that were cut, or begun."""
    clips = record.get("clips", {})
    return {clip: entry for clip, entry in clips.items() if isinstance(entry, dict) and "error" not in entry}


def made_before(
    root: Path,
    before: Mapping[str, dict[str, Any]],
    chosen: VideoSet,
    settings: Mapping[str, object],
    numbers: Mapping[str, Numbers],
) -> dict[str, dict[str, Any]]:
    """What earlier runs cut and is there; with its settings where they were others."""
    found = {}
    for clip, entry in listed_as_cut(before).items():
        if "video" in entry and are_there(root, clip, chosen, numbers.get(clip, {}), entry):
            by = entry.pop(SETTINGS, before.get(SETTINGS))
            found[clip] = entry if by == settings else {**entry, SETTINGS: by}
    return found


def files_of_others(
    root: Path, clip: str, chosen: VideoSet, numbers: Numbers, entry: Mapping[str, Any] | None
) -> frozenset[Path]:
    """Files of a clip that are there and that no run cut, by the record's `entry` of it."""
    there = frozenset(path for path in files_of(root, clip, chosen, numbers) if os.path.lexists(path))
    return there if entry is None else there.intersection(root / name for name in entry.get(KEPT, ()))


def record_of(path: Path) -> dict[str, dict[str, Any]]:
    """What earlier runs recorded.

    Raises:
        UserError: The record is damaged.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}).", UNREADABLE) from error
    if not (isinstance(found, dict) and isinstance(found.get("clips"), dict)):
        raise UserError(f"{path} is not a record of mcr cut.", UNREADABLE)
    return found
