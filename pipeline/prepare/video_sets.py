"""Sets that come as videos: which clips they list, and which picture of a clip is theirs."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.modalities import AUDIO, EXTENSIONS
from pipeline.prepare.layout import Layout, files_below
from pipeline.prepare.seconds import Numbers

# Beside videos; a set with pictures finds none in them.
SOUNDS = ("m4a", "mka", "aac", "wma", "weba", *EXTENSIONS[AUDIO])
VIDEOS = ("mp4", "webm", "mkv", "m4v", "mov", "avi", "flv", "3gp", "ogv", "mpg", "mpeg", "ts")
SECONDS = 10.0  # of a clip of VGGSound and of AudioCaps


@dataclass(frozen=True)
class VideoSet:
    """What a set takes out of its videos.

    Attributes:
        listed: From its folder and the videos: by name of a clip, where it begins in the whole upload, and how long it is;
            None where the set does not say.
        frame: The picture, in seconds from the beginning of the clip; None: in the middle.
        why: Where that is from.
        picture: Whether a picture is taken at all.
        numbered: By clip: frames that the set lists by their numbers, several in a second, in place of one picture and span.
    """

    listed: Callable[[Layout, Mapping[str, Path]], Mapping[str, tuple[float, float] | None]]
    frame: float | None
    why: str
    picture: bool = True
    numbered: Callable[[Layout], Mapping[str, Numbers]] | None = None

    @property
    def of_a_set(self) -> bool:
        """Whether a published set says which clips there are."""
        return self.listed is not _all


def _audioset(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    rows = layout.cells("eval_segments.csv", 4)
    return {row[0]: (float(row[1]), float(row[2]) - float(row[1])) for row in rows}


def _audiocaps(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    """As the reader of the set calls its sounds: by id and second."""
    rows = layout.table("test.csv", ("youtube_id", "start_time"))
    starts = {f"{row['youtube_id']}_{row['start_time'].removesuffix('.0')}": float(row["start_time"]) for row in rows}
    return {clip: (start, SECONDS) for clip, start in starts.items()}


def _vggss(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    """VGGSound's names end in the second at which the clip begins, in six digits."""
    names = [str(entry["file"]) for entry in layout.json("vggss.json")]
    names += _extended(layout, "vggss_test_plus_silent.csv")
    return {name: (float(name.rsplit("_", 1)[1]), SECONDS) for name in dict.fromkeys(names)}


def _ave(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    return {row[1]: None for row in layout.cells("Annotations.txt", 5, "&") if row[1] != "VideoID"}


def _flickr(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    names = [path.stem for path in sorted((layout.root / "Annotations").glob("*.xml"))]
    return dict.fromkeys([*names, *_extended(layout, "flickr_test_plus_silent.csv")])


def _extended(layout: Layout, name: str) -> list[str]:
    """The pictures and sounds of an extended set, where its file is there."""
    if not (layout.root / name).is_file():
        return []
    return [row[field] for row in layout.table(name, ("video", "audio")) for field in ("video", "audio")]


def _solo(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    return dict.fromkeys(_solo_frames(layout))


def _solo_frames(layout: Layout) -> Mapping[str, Numbers]:
    """From `<clip>/frame_<second>/<number>.jpg`."""
    frames: dict[str, dict[int, list[int]]] = {}
    for name in layout.json("solotest.json"):
        clip, second, number = str(name).removesuffix(".jpg").split("/")
        frames.setdefault(clip, {}).setdefault(int(second.removeprefix("frame_")), []).append(int(number))
    return frames


def _all(layout: Layout, found: Mapping[str, Path]) -> Mapping[str, tuple[float, float] | None]:
    return dict.fromkeys(found)


UNKNOWN = "the set does not say which frame: the middle one"
VIDEO_SETS = {
    "audioset": VideoSet(_audioset, None, "sounds only", picture=False),
    # VGG-SS as KAIST's ACL-SSL describes it: the boxes were drawn on the 125th frame of 25 in a second.
    "vggss": VideoSet(_vggss, 5.0, "the boxes were drawn on the 125th frame of 25 in a second"),
    "extended-vggss": VideoSet(_vggss, 5.0, "the boxes were drawn on the 125th frame of 25 in a second"),
    "audiocaps": VideoSet(_audiocaps, None, "sounds only", picture=False),
    "ave": VideoSet(_ave, None, UNKNOWN),
    "flickr-soundnet": VideoSet(_flickr, None, UNKNOWN),
    "extended-flickr": VideoSet(_flickr, None, UNKNOWN),
    "music-solo": VideoSet(_solo, None, "the frames that are listed, by their numbers", numbered=_solo_frames),
    # Unpaired data: every video of a folder.
    "sounds": VideoSet(_all, None, "sounds only", picture=False),
    "pictures-and-sounds": VideoSet(_all, None, "the middle one of each video"),
}


def videos_of(folder: Path, chosen: VideoSet, root: Path) -> dict[str, Path]:
    """The videos in a folder and below it, by name, but for what is cut into `root`.

    Raises:
        UserError: Two have one name, and no set says which is meant, or the folder is one that is cut into.
    """
    endings = {*VIDEOS, *(() if chosen.picture else SOUNDS)}
    cut = tuple(f"{os.path.realpath(root / media)}{os.sep}" for media in ("audio", "frames"))
    if f"{os.path.realpath(folder)}{os.sep}".startswith(cut):
        raise UserError(f"{folder} is where mcr cut writes.", "Name the folder of your videos.")
    found: dict[str, Path] = {}
    for path in files_below(folder):
        if path.suffix[1:].lower() in endings and not os.path.realpath(path).startswith(cut):
            # A published name is that of one clip, wherever it lies; of anybody's videos two may share one.
            if path.stem in found and not chosen.of_a_set:
                raise UserError(f"{found[path.stem]} and {path} would become the same clip.", "Rename one of them.")
            found[path.stem] = path
    return found


def video_of(clip: str, found: Mapping[str, Path], whole: bool) -> Path | None:
    """The video of a clip: of its name, or where `whole` of its upload's."""
    # The names of some clips end in the second at which they begin, or in two, which that of the upload does not.
    upload = [clip[:11]] if whole and re.fullmatch(r".{11}_\d+(_\d+)?", clip) else []
    return next((found[name] for each in (clip, *upload) for name in (each, f"Y{each}") if name in found), None)
