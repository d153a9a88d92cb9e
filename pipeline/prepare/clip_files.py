"""The files that a clip becomes: one picture and one sound, or those of its seconds."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import SampleError
from pipeline.files.atomic import write_bytes
from pipeline.prepare.seconds import Numbers, Seconds
from pipeline.prepare.video import Taken
from pipeline.prepare.video_sets import VideoSet

Found = Taken | Seconds | SampleError


def are_there(root: Path, clip: str, chosen: VideoSet, numbers: Numbers, entry: Mapping[str, object]) -> bool:
    """Whether the files that the record's `entry` says of are there."""
    found = [path.is_file() for path in files_of(root, clip, chosen, numbers)]
    # Of listed frames some may be beyond the end of the video; the record says how many there are.
    return sum(found) == entry["files"] if numbers else all(found)


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


def write_clip(root: Path, clip: str, taken: Found, numbers: Numbers) -> dict[str, object]:
    """Write what was taken out of a video; what the record says of it."""
    if isinstance(taken, SampleError):
        return {"error": taken.message}
    if isinstance(taken, Seconds):
        for second, sound in taken.sounds.items():
            write_bytes(_sound(root, clip, second), sound)
        for second, listed in numbers.items():
            for number in (each for each in listed if each in taken.pictures):
                write_bytes(_frame(root, clip, second, number), taken.pictures[number])
        frames, seconds = len(taken.pictures), len(taken.sounds)
        return {
            "frames": frames,
            "of": sum(map(len, numbers.values())),
            "seconds": seconds,
            "files": frames + seconds,
            "rate": taken.rate,
        }
    write_bytes(root / "audio" / f"{clip}.wav", taken.sound)
    if taken.picture:
        write_bytes(root / "frames" / f"{clip}.jpg", taken.picture)
    return {"frame_at": taken.frame_at, "sound": taken.span, "rate": taken.rate}
