"""`mcr cut`: frames and sounds of published sets out of a folder of videos."""

import math
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError
from stages.printing import say, say_lines


def cut(
    name: Annotated[str, typer.Argument(help="The set; without one, list the known sets.", show_default=False)] = "",
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of its publishers' files; frames/ and audio/ are written there.", show_default=False
        ),
    ] = None,
    videos: Annotated[
        Path | None, typer.Argument(help="Folder of your videos, named as the set names its clips.", show_default=False)
    ] = None,
    frame: Annotated[
        str,
        typer.Option(help="Which picture: seconds from the clip's start, or `middle`.", show_default="the set's own"),
    ] = "",
    start: Annotated[float, typer.Option(min=0, help="Seconds to skip at the beginning of the clip.")] = 0.0,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Of sound.", show_default="all of the clip")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The videos are whole uploads, not clips.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Videos processed at the same time.")] = 2,
) -> None:
    """Extract a picture and the sound of each clip of a set from videos, for `mcr prepare`.

    cut.json beside them records which frame and which span were taken, and lists unreadable videos with the reason. A
    second run extracts only what is new. Files that are there already and that mcr cut did not make stay as they are.

    Examples:

      mcr cut vggss data/downloads/vggss /data/vggsound-videos

      mcr cut audioset data/downloads/audioset /data/uploads --whole

      mcr cut sounds data/raw/sounds /data/audioset-train
    """
    from pipeline.prepare.clips import RECORD, cut_clips
    from pipeline.prepare.video import MIDDLE, Cut
    from pipeline.prepare.video_sets import VIDEO_SETS
    from stages.context import ConsoleProgress
    from stages.options import pick

    if not name:
        say_lines("\n".join(f"{known}: {each.why}" for known, each in VIDEO_SETS.items()))
        return
    [(_, chosen)] = pick(VIDEO_SETS, [name], "set of videos")
    usage = f"Run `mcr cut {name} FOLDER VIDEOS`."
    if folder is None or videos is None:
        raise UserError(f"Where are the {'videos' if folder else 'files'} of {name}?", usage)
    if not chosen.of_a_set:
        folder.mkdir(parents=True, exist_ok=True)
    if missing := next((each for each in (folder, videos) if not each.is_dir()), None):
        raise UserError(f"{missing} is not a folder.", usage)
    try:
        at = chosen.frame if not frame else None if frame == MIDDLE else float(frame)
        if at is not None and not math.isfinite(at):
            raise ValueError(frame)
    except ValueError as error:
        raise UserError(f"The frame {frame!r} is not a time.", "Give seconds, or `middle`.") from error
    if chosen.numbered and (frame or start or seconds is not None):
        raise UserError(f"{name} lists its frames and seconds.", "Leave out --frame, --start and --seconds.")
    found = cut_clips(name, folder, videos, Cut(start, seconds, at), whole, workers, ConsoleProgress())
    if not frame and chosen.picture:
        say(f"cut {name}: picture: {chosen.why}")
    say(
        f"cut {name}: {found.listed:,} listed, {found.cut:,} cut, {found.there:,} were there, {found.gone:,} without a video, "
        f"{len(found.rejected):,} rejected; see {folder / RECORD}"
    )
    if found.otherwise:
        say(
            f"  {found.otherwise:,} without a video are there by an earlier run with other settings, which {RECORD} has beside them"
        )
    if found.kept:
        say(f"  {found.kept:,} files in {folder} were not made by mcr cut and stay as they are")
    for clip, reason in list(found.rejected.items())[:5]:
        say(f"  {clip}: {reason}")
