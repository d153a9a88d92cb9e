"""A folder of a user's videos becomes the frames and sounds that published sets are read from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from pipeline.decode.isolated import Isolated, Limits
from pipeline.errors import UserError
from pipeline.files.atomic import write_text
from pipeline.prepare.clip_files import (
    KEPT,
    SETTINGS,
    Found,
    files_of,
    files_of_others,
    in_record,
    listed_as_cut,
    made_before,
    record_of,
    write_clip,
)
from pipeline.prepare.layout import Layout
from pipeline.prepare.seconds import Numbers, take_seconds
from pipeline.prepare.video import JPEG_QUALITY, Cut, pyav, take
from pipeline.prepare.video_sets import VIDEO_SETS, VideoSet, video_of, videos_of
from pipeline.progress import Progress

RECORD = "cut.json"
LIMITS = Limits(seconds=300.0)
OFTEN = 100  # clips after which the record is written


@dataclass(frozen=True)
class Job:
    """A clip that is cut: its name, its video, where in it, the numbers of listed frames, and files of others that stay."""

    clip: str
    video: Path
    cut: Cut
    numbers: Numbers
    kept: frozenset[Path]


@dataclass(frozen=True)
class Clips:
    """What became of the clips of a set: how many, and by name why a video could not be cut."""

    listed: int
    cut: int
    there: int  # by an earlier run with the same settings, or by somebody else
    gone: int  # without a video
    otherwise: int  # of those, how many are there by an earlier run with other settings
    kept: int  # files that no run cut
    rejected: dict[str, str]


def cut_clips(name: str, root: Path, videos: Path, cut: Cut, whole: bool, workers: int, progress: Progress) -> Clips:
    """Write ``audio/<name>.wav`` and ``frames/<name>.jpg`` below `root` for every listed clip whose video there is.

    Of a set that lists frames by their numbers these are ``frames/<name>/frame_<second>/<number>.jpg``, and the sounds
    ``audio/<name>/frame_<second>.wav``.

    What was cut and how is recorded in ``cut.json``. A clip that the record has with the same settings is not cut again
    unless its video changed; what an earlier run made of a video that is rejected now is removed. Files that no run cut stay as
    they are, and only what is missing beside them is taken.

    Args:
        name: A key of `VIDEO_SETS`.
        root: Folder of the publishers' files.
        videos: Folder of the videos, ``<name>.<ending>``; of AudioSet and of whole uploads also ``Y<id>`` and ``<id>``.
        cut: What is taken out of a clip.
        whole: Whether the videos are whole uploads, of which the clip is a part.
        workers: How many are cut at the same time.
        progress: Told of every clip.

    Raises:
        UserError: PyAV is not installed, the folder is not in its published layout, none of its videos is there, two have one
            name, the set does not say where its clips lie in `whole` uploads, or the record is damaged.
    """
    pyav()
    chosen = VIDEO_SETS[name]
    spans, wanted, numbers = _listed(name, root, videos, chosen, whole)
    settings = {"set": name, "whole": whole, **asdict(cut), "jpeg_quality": JPEG_QUALITY, "pyav": version("av")}
    before = record_of(root / RECORD)
    made = made_before(root, before, chosen, settings, numbers)
    cut_before = listed_as_cut(before)
    again = {clip: path for clip, path in wanted.items() if _is_other(made.get(clip, {}), path)}
    clips = {clip: made[clip] for clip in spans if clip in made and clip not in again}
    todo = []
    for clip, path in again.items():
        listed = numbers.get(clip, {})
        kept = files_of_others(root, clip, chosen, listed, cut_before.get(clip))
        todo.append(Job(clip, path, _span(cut, spans[clip], whole), listed, kept))
    jobs = [job for job in todo if len(job.kept) < len(files_of(root, job.clip, chosen, job.numbers))]
    # Without content: begun, so that the files of a run that is killed are known for ours, but for those that it keeps;
    # all that the record says of a clip whose files are all somebody else's.
    begun = {clip: {key: value for key, value in entry.items() if key == KEPT} for clip, entry in cut_before.items()}
    begun |= {job.clip: in_record(root, job.kept) for job in todo}
    otherwise = sum(SETTINGS in entry for entry in clips.values())
    stay = sum(len(entry.get(KEPT, ())) for entry in clips.values()) + sum(len(job.kept) for job in todo)
    there = len(clips) - otherwise + len(todo) - len(jobs)
    progress.start(f"cut {name}", len(jobs), "videos")
    _save(root / RECORD, settings, chosen.why, begun | made | clips)
    try:
        for number, (clip, entry) in enumerate(_cut(jobs, root, chosen, workers), 1):
            clips[clip] = entry
            progress.advance(1)
            if number % OFTEN == 0:
                _save(root / RECORD, settings, chosen.why, begun | made | clips)
    finally:  # what is done before an error or Ctrl-C counts
        _save(root / RECORD, settings, chosen.why, begun | made | clips)
    rejected = {clip: str(entry["error"]) for clip, entry in clips.items() if "error" in entry}
    return Clips(
        len(spans), len(jobs) - len(rejected), there, len(spans) - len(jobs) - there, otherwise, stay, rejected
    )


def _listed(
    name: str, root: Path, videos: Path, chosen: VideoSet, whole: bool
) -> tuple[Mapping[str, tuple[float, float] | None], dict[str, Path], Mapping[str, Numbers]]:
    """The clips of the set, the videos of those that have one, and the frames of those whose frames are listed."""
    layout = Layout(name, root, f"its annotations, and {videos} with a video for each clip")
    found = videos_of(videos, chosen, root)
    try:
        spans = chosen.listed(layout, found)
        numbers = chosen.numbered(layout) if chosen.numbered else {}
    except (LookupError, TypeError, ValueError) as error:
        raise layout.wrong(".", f"holds annotations that are not as they are published ({error})") from error
    if whole and chosen.of_a_set and not numbers and not any(spans.values()):
        raise UserError(
            f"{name} does not say where its clips lie in whole uploads.",
            "Leave out --whole, and name a folder of its clips.",
        )
    wanted = {clip: path for clip in spans if (path := video_of(clip, found, whole)) is not None}
    if not wanted:
        raise layout.wrong(
            ".", f"lists {len(spans)} clips, such as {next(iter(spans), '')!r}, and {videos} has no video of them"
        )
    return spans, wanted, numbers


def _cut(jobs: Sequence[Job], root: Path, chosen: VideoSet, workers: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Cut and write every clip; a video that makes FFmpeg crash or hang costs itself only."""

    def taken(job: Job) -> Found:
        if job.numbers:
            return take_seconds(job.video, job.numbers)
        kept = {path.suffix for path in job.kept}
        return take(job.video, job.cut, chosen.picture and ".jpg" not in kept, ".wav" not in kept)

    with Isolated(taken, workers, LIMITS) as isolated, ThreadPoolExecutor(workers, "cut") as pool:
        isolated.start()

        def one(job: Job) -> tuple[str, dict[str, object]]:
            (found,) = isolated([job])
            return job.clip, {
                "video": job.video.name,
                "bytes": job.video.stat().st_size,
                **write_clip(root, job.clip, found, chosen, job.numbers, job.kept),
            }

        yield from pool.map(one, jobs)


def _save(path: Path, settings: Mapping[str, object], why: str, clips: Mapping[str, object]) -> None:
    content = {SETTINGS: settings, "why": why, "clips": dict(sorted(clips.items()))}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _is_other(entry: Mapping[str, object], video: Path) -> bool:
    """Whether what was cut by an earlier run is of another video or by other settings."""
    return entry.get("bytes") != video.stat().st_size or SETTINGS in entry


def _span(cut: Cut, listed: tuple[float, float] | None, whole: bool) -> Cut:
    """Where the clip is in its video."""
    if not whole or listed is None:
        return cut
    start, seconds = listed
    return replace(
        cut, start=start + cut.start, seconds=cut.seconds if cut.seconds is not None else seconds - cut.start
    )
