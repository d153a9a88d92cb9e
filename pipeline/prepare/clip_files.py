"""The files that a clip becomes, one picture and one sound or those of its seconds, and the record of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import write_bytes
from pipeline.prepare.seconds import Numbers, Seconds
from pipeline.prepare.video import Taken
from pipeline.prepare.video_sets import VideoSet

UNREADABLE = "It says which files mcr cut made: restore it, or move it, audio/ and frames/ away."
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


def write_clip(root: Path, clip: str, taken: Found, chosen: VideoSet, numbers: Numbers) -> dict[str, object]:
    """Write what was taken out of a video and remove what was taken before; what the record says of it."""
    files: dict[Path, bytes] = {}
    if isinstance(taken, SampleError):
        entry: dict[str, object] = {"error": taken.message}
    elif isinstance(taken, Seconds):
        files = {_sound(root, clip, second): sound for second, sound in taken.sounds.items()}
        for second, listed in numbers.items():
            files |= {
                _frame(root, clip, second, each): taken.pictures[each] for each in listed if each in taken.pictures
            }
        frames, seconds = len(taken.pictures), len(taken.sounds)
        entry = {
            "frames": frames,
            "of": sum(map(len, numbers.values())),
            "seconds": seconds,
            "files": frames + seconds,
            "rate": taken.rate,
        }
    else:
        files = {root / "audio" / f"{clip}.wav": taken.sound}
        if taken.picture:
            files[root / "frames" / f"{clip}.jpg"] = taken.picture
        entry = {"frame_at": taken.frame_at, "sound": taken.span, "rate": taken.rate}
    for path, content in files.items():
        write_bytes(path, content)
    for path in {*files_of(root, clip, chosen, numbers)} - files.keys():
        path.unlink(missing_ok=True)
    return entry


def listed_as_cut(record: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, object]]:
    """Entries of clips that were cut, or begun."""
    clips = record.get("clips", {})
    return {clip: entry for clip, entry in clips.items() if isinstance(entry, dict) and "error" not in entry}


def refuse_others(paths: Sequence[Path]) -> None:
    """Write nothing over files that no record says were cut.

    Raises:
        UserError: One of them is there.
    """
    if others := [path for path in paths if path.exists()]:
        more = f", nor {len(others) - 1:,} others" if len(others) > 1 else ""
        raise UserError(
            f"{others[0]} exists and mcr cut did not make it{more}.", "Move it away, or name another folder."
        )


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
