"""A section of docs/tables.md is followed, command by command; what comes from elsewhere is put in its place: weights, media, boxes."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import yaml

from pipeline.prepare.layout import Layout
from pipeline.prepare.video_sets import VIDEO_SETS
from tests.makers import tables, videos
from tests.makers.readme import ROOT
from tests.makers.walk import mcr

HUB = ("coco", "flickr30k")
LENGTH, SLOW = 6, 1  # seconds of a clip, whose picture is at 5 s at the latest, and frames in each
NUMBERED_LENGTH, NUMBERED_RATE = 15, 30  # of MUSIC-Solo, whose frame 411 is in second 13


def commands(table: str) -> list[list[str]]:
    """What a person types for a table."""
    sections = (ROOT / "docs" / "tables.md").read_text().split("\n## ")
    section = next(part for part in sections if f"mcr init tables/{table}" in part)
    block = re.search(r"(?:^    .+\n)+", section, re.MULTILINE)
    assert block
    return [shlex.split(line) for line in block[0].splitlines()]


def follow(table: str, weights: Path) -> None:
    """Everything up to `dvc repro`, in the working directory; nothing is left out, although the page leaves out what is trained."""
    steps = commands(table)
    assert steps[0][:2] == ["mcr", "init"] and steps[-1] == ["dvc", "repro"]
    made = {
        "fetch": _fetched,
        "cut": _filmed,
        "prepare": _published,
        "crop": _detected,
        "convert-openshape": _openshape,
    }
    mcr("init", f"tables/{table}")
    for _, command, *arguments in steps[1:-1]:
        if command == "fetch":
            _fetched(weights)
            continue
        if command == "text-pool":
            _captions(Path(*arguments))
        elif command in made:
            made[command](*arguments)  # type: ignore[operator]
        mcr(command, *arguments)
    wanted = set(tables.TRAINING) & set(yaml.safe_load(Path("params.yaml").read_text())["corpora"])
    tables.put_training(
        Path("data/raw"), wanted - {path.name for path in Path("data/raw").iterdir() if any(path.iterdir())}
    )


def _fetched(weights: Path) -> None:
    """In place of `mcr fetch`, which needs a network and has tests of its own."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    for space in params["spaces"]:
        Path("data/spaces", space).rmdir()
        if space == "ulip":
            tables.weights(Path("data/spaces"), {"ulip"})
        else:
            Path("data/spaces", space).symlink_to(weights / "spaces" / space)
    if Path("data/published").is_dir():
        Path("data/published").rmdir()
        Path("data/published").symlink_to(weights / "published")
    for number, name in enumerate(set(HUB) & set(params["corpora"]), 1):
        tables.put_tars(Path("data/raw", name), 50_000 * number)


def _published(name: str, folder: str) -> None:
    if not Path(folder).is_dir():
        assert tables.put_set(Path(folder).parent, name) == Path(folder)


def _filmed(name: str, folder: str, place: str, *_options: str) -> None:
    """The videos of the clips whose frames and sounds the miniature has, in place of these."""
    _published(name, folder)
    root = Path(folder)
    listed = VIDEO_SETS[name].listed(Layout(name, root, ""), {})
    held = {path.stem for path in (root / "audio").iterdir()}
    there = [
        clip for clip in listed if {clip, f"Y{clip}", clip.rpartition("_")[0], f"Y{clip.rpartition('_')[0]}"} & held
    ]
    assert there
    length, rate = (NUMBERED_LENGTH, NUMBERED_RATE) if VIDEO_SETS[name].numbered else (LENGTH, SLOW)
    base = 1000 * (1 + sum(map(ord, name)) % 97)
    for number, clip in enumerate(there, base):
        if not (video := Path(place, f"{clip}.mp4")).exists():
            picture = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            videos.still(video, picture, 200 + 40 * (number - base), length, rate)
    for media in ("frames", "audio"):
        shutil.rmtree(root / media, ignore_errors=True)


def _detected(_: str, boxes: str, frames: str) -> None:
    tables.put_proposals(Path(frames), Path(boxes))


def _openshape(source: str, points: str) -> None:
    _published("objaverse-lvis", str(Path(points).parent))
    for path in sorted(Path(points).rglob("*.npy")):
        Path(source).mkdir(parents=True, exist_ok=True)
        shape = {"dataset": "Objaverse", "id": path.stem, "xyz": np.load(path).astype(np.float16)}
        np.save(Path(source, path.name), np.array(shape, object), allow_pickle=True)
        path.unlink()


def _captions(downloads: Path) -> None:
    file = downloads / "audiocaps" / "train.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    words = [f"the {tables.WORDS[n % 8]} of a {tables.WORDS[n // 8 % 8]}, {n}" for n in range(tables.TRAINING["texts"])]
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([("audiocap_id", "youtube_id", "start_time", "caption")])
        writer.writerows((number, f"yt{number}", 0, text) for number, text in enumerate(words))
