"""A folder of a user's videos becomes the frames and sounds that published sets are read from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import write_text
from pipeline.prepare.clip_files import Found, are_there, files_of, listed_as_cut, record_of, refuse_others, write_clip
from pipeline.prepare.layout import Layout
from pipeline.prepare.seconds import Numbers, take_seconds
from pipeline.prepare.video import JPEG_QUALITY, Cut, pyav, take
from pipeline.prepare.video_sets import VIDEO_SETS, VideoSet, video_of, videos_of
from pipeline.progress import Progress

RECORD = "cut.json"
SETTINGS = "settings"
LIMITS = Limits(seconds=300.0)
OFTEN = 100  # clips after which the record is written
Job = tuple[str, Path, Cut, Numbers]


@dataclass(frozen=True)
class Clips:
    """What became of the clips of a set: how many, and by name why a video could not be cut."""

    listed: int
    cut: int
    there: int  # by an earlier run with the same settings
    gone: int  # without a video
    otherwise: int  # of those, how many are there by an earlier run with other settings
    rejected: dict[str, str]


def cut_clips(name: str, root: Path, videos: Path, cut: Cut, whole: bool, workers: int, progress: Progress) -> Clips:
    """Write ``audio/<name>.wav`` and ``frames/<name>.jpg`` below `root` for every listed clip whose video there is.

    Of a set that lists frames by their numbers these are ``frames/<name>/frame_<second>/<number>.jpg``, and the sounds
    ``audio/<name>/frame_<second>.wav``.

    What was cut and how is recorded in ``cut.json``. A clip that the record has with the same settings is not cut again
    unless its video changed; what an earlier run made of a video that is rejected now is removed.

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
            name, the set does not say where its clips lie in `whole` uploads, the record is damaged, or a file would be
            overwritten that is not of an earlier run.
    """
    pyav()
    chosen = VIDEO_SETS[name]
    spans, wanted, numbers = _listed(name, root, videos, chosen, whole)
    settings = {"set": name, "whole": whole, **asdict(cut), "jpeg_quality": JPEG_QUALITY, "pyav": version("av")}
    before = record_of(root / RECORD)
    made = _made(root, before, chosen, settings, numbers)
    clips: dict[str, dict[str, object]] = {}
    jobs: list[Job] = []
    for clip, span in spans.items():
        entry, path = made.get(clip, {}), wanted.get(clip)
        if path and (entry.get("bytes") != path.stat().st_size or SETTINGS in entry):
            jobs.append((clip, path, _span(cut, span, whole), numbers.get(clip, {})))
        elif entry:
            clips[clip] = entry
    listed = listed_as_cut(before)
    refuse_others([path for job in jobs if job[0] not in listed for path in files_of(root, job[0], chosen, job[3])])
    # Without content: begun, so that the files of a run that is killed are known for ours.
    begun: dict[str, dict[str, object]] = {clip: {} for clip in (*listed, *(job[0] for job in jobs))}
    otherwise = sum(SETTINGS in entry for entry in clips.values())
    there = len(clips) - otherwise
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
    return Clips(len(spans), len(jobs) - len(rejected), there, len(spans) - len(jobs) - there, otherwise, rejected)


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

    def safely(job: Job) -> Found:
        try:
            return take_seconds(job[1], job[3]) if job[3] else take(job[1], job[2], chosen.picture)
        except SampleError as error:
            return error

    with ExitStack() as stack:
        isolated: Isolated[Job, Found] | None = None
        if POSSIBLE:
            isolated = stack.enter_context(Isolated(safely, workers, LIMITS))
            isolated.start()

        def one(job: Job) -> tuple[str, dict[str, object]]:
            taken = isolated([job])[0] if isolated else safely(job)
            return job[0], {
                "video": job[1].name,
                "bytes": job[1].stat().st_size,
                **write_clip(root, job[0], taken, chosen, job[3]),
            }

        pool = stack.enter_context(ThreadPoolExecutor(workers, "cut"))
        yield from pool.map(one, jobs)


def _save(path: Path, settings: Mapping[str, object], why: str, clips: Mapping[str, object]) -> None:
    content = {SETTINGS: settings, "why": why, "clips": dict(sorted(clips.items()))}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _span(cut: Cut, listed: tuple[float, float] | None, whole: bool) -> Cut:
    """Where the clip is in its video."""
    if not whole or listed is None:
        return cut
    start, seconds = listed
    return replace(
        cut, start=start + cut.start, seconds=cut.seconds if cut.seconds is not None else seconds - cut.start
    )


def _made(
    root: Path,
    before: Mapping[str, dict[str, Any]],
    chosen: VideoSet,
    settings: Mapping[str, object],
    numbers: Mapping[str, Numbers],
) -> dict[str, dict[str, object]]:
    """What earlier runs cut and is there; with its settings where they were others."""
    found = {}
    for clip, entry in listed_as_cut(before).items():
        if entry and are_there(root, clip, chosen, numbers.get(clip, {}), entry):
            by = entry.pop(SETTINGS, before.get(SETTINGS))
            found[clip] = entry if by == settings else {**entry, SETTINGS: by}
    return found
