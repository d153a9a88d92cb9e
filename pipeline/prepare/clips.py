"""A folder of a user's videos becomes the frames and sounds that published sets are read from."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import write_bytes, write_text
from pipeline.prepare.layout import Layout
from pipeline.prepare.video import JPEG_QUALITY, Cut, Taken, pyav, take
from pipeline.prepare.video_sets import VIDEO_SETS, VideoSet
from pipeline.progress import Progress

# Sounds that nothing else here reads, beside videos; a set with pictures finds none in them.
SOUNDS = ("m4a", "mka", "aac", "wma", "opus", "weba")
VIDEOS = ("mp4", "webm", "mkv", "m4v", "mov", "avi", "flv", "3gp", "ogv", "mpg", "mpeg", "ts")
RECORD = "cut.json"
LIMITS = Limits(seconds=300.0)
OFTEN = 100  # clips after which the record is written
Job = tuple[str, Path, Cut]


@dataclass(frozen=True)
class Clips:
    """What became of the clips of a set: by reason, how many and an example."""

    listed: int
    cut: int
    there: int
    gone: int
    rejected: dict[str, str]


def cut_clips(name: str, root: Path, videos: Path, cut: Cut, whole: bool, workers: int, progress: Progress) -> Clips:
    """Write ``audio/<name>.wav`` and ``frames/<name>.jpg`` below `root` for every listed clip whose video there is.

    What was cut and how is recorded in ``cut.json``. A clip that the record has with the same settings and video is not cut
    again.

    Args:
        name: A key of `VIDEO_SETS`.
        root: Folder of the publishers' files.
        videos: Folder of the videos, ``<name>.<ending>``; of AudioSet and of whole uploads also ``Y<id>`` and ``<id>``.
        cut: What is taken out of a clip.
        whole: Whether the videos are whole uploads, of which the clip is a part.
        workers: How many are cut at the same time.
        progress: Told of every clip.

    Raises:
        UserError: PyAV is not installed, the folder is not in its published layout, none of its videos is there, or two
            have one name.
    """
    pyav()
    chosen = VIDEO_SETS[name]
    layout = Layout(name, root, f"its annotations, and {videos} with a video for each clip")
    found = _videos(videos, chosen)
    try:
        spans = chosen.listed(layout, found)
    except (LookupError, TypeError, ValueError) as error:
        raise layout.wrong(".", f"holds annotations that are not as they are published ({error})") from error
    wanted = {clip: path for clip in spans if (path := _video_of(clip, found, whole)) is not None}
    if not wanted:
        raise layout.wrong(
            ".", f"lists {len(spans)} clips, such as {next(iter(spans), '')!r}, and {videos} has no video of them"
        )
    settings = {"set": name, "whole": whole, **asdict(cut), "jpeg_quality": JPEG_QUALITY, "pyav": version("av")}
    before = _record(root / RECORD)
    known = before["clips"] if before.get("settings") == settings else {}
    clips: dict[str, dict[str, object]] = {}
    there = 0
    jobs: list[Job] = []
    for clip, path in wanted.items():
        entry = known.get(clip, {})
        if entry.get("bytes") == path.stat().st_size and "error" not in entry and _written(root, clip, chosen):
            clips[clip], there = entry, there + 1
        else:
            jobs.append((clip, path, _span(cut, spans[clip], whole)))
    progress.start(f"cut {name}", len(jobs), "videos")
    try:
        for number, (clip, entry) in enumerate(_cut(jobs, root, chosen.picture, workers), 1):
            clips[clip] = entry
            progress.advance(1)
            if number % OFTEN == 0:
                _save(root / RECORD, settings, chosen.why, clips)
    finally:  # what is done before an error or Ctrl-C counts
        _save(root / RECORD, settings, chosen.why, clips)
    rejected = {clip: str(entry["error"]) for clip, entry in clips.items() if "error" in entry}
    return Clips(len(spans), len(jobs) - len(rejected), there, len(spans) - len(wanted), rejected)


def _videos(folder: Path, chosen: VideoSet) -> dict[str, Path]:
    """The videos in a folder and below it, by name."""
    endings = {*VIDEOS, *(() if chosen.picture else SOUNDS)}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix[1:].lower() in endings and path.is_file():
            # A published name is that of one clip, wherever it lies; of anybody's videos two may share one.
            if path.stem in found and not chosen.of_a_set:
                raise UserError(f"{found[path.stem]} and {path} would become the same clip.", "Rename one of them.")
            found[path.stem] = path
    return found


def _cut(jobs: Sequence[Job], root: Path, picture: bool, workers: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Cut and write every clip; a video that makes FFmpeg crash or hang costs itself only."""

    def safely(job: Job) -> Taken | SampleError:
        try:
            return take(job[1], job[2], picture)
        except SampleError as error:
            return error

    with ExitStack() as stack:
        isolated: Isolated[Job, Taken | SampleError] | None = None
        if POSSIBLE:
            isolated = stack.enter_context(Isolated(safely, workers, LIMITS))
            isolated.start()

        def one(job: Job) -> tuple[str, dict[str, object]]:
            taken = isolated([job])[0] if isolated else safely(job)
            return job[0], {"video": job[1].name, "bytes": job[1].stat().st_size, **_written_down(root, job[0], taken)}

        pool = stack.enter_context(ThreadPoolExecutor(workers, "cut"))
        yield from pool.map(one, jobs)


def _save(path: Path, settings: Mapping[str, object], why: str, clips: Mapping[str, object]) -> None:
    content = {"settings": settings, "why": why, "clips": dict(sorted(clips.items()))}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _video_of(clip: str, found: Mapping[str, Path], whole: bool) -> Path | None:
    # Of VGGSound's clips the name ends in the second at which they begin, which the upload's does not.
    upload = [clip.rpartition("_")[0]] if whole and re.fullmatch(r".{11}_\d{6}", clip) else []
    return next((found[name] for name in (clip, f"Y{clip}", *upload) if name in found), None)


def _span(cut: Cut, listed: tuple[float, float] | None, whole: bool) -> Cut:
    """Where the clip is in its video."""
    if not whole or listed is None:
        return cut
    start, seconds = listed
    return replace(
        cut, start=start + cut.start, seconds=cut.seconds if cut.seconds is not None else seconds - cut.start
    )


def _written(root: Path, clip: str, chosen: VideoSet) -> bool:
    return (root / "audio" / f"{clip}.wav").is_file() and (
        not chosen.picture or (root / "frames" / f"{clip}.jpg").is_file()
    )


def _written_down(root: Path, clip: str, taken: Taken | SampleError) -> dict[str, object]:
    if isinstance(taken, SampleError):
        return {"error": taken.message}
    write_bytes(root / "audio" / f"{clip}.wav", taken.sound)
    if taken.picture:
        write_bytes(root / "frames" / f"{clip}.jpg", taken.picture)
    return {"frame_at": taken.frame_at, "sound": taken.span, "rate": taken.rate}


def _record(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("clips"), dict) else {}
