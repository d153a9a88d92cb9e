"""docs/tables.md can be followed: its commands parse, its recipes exist, and every set of a recipe is in its tables."""

import re
import shlex
from typing import Any

import pytest
import typer

from pipeline.prepare import SETS
from pipeline.prepare.video_sets import VIDEO_SETS
from stages.cli import app
from tests.end_to_end.test_tables import TABLES, recipe_of, sets_of
from tests.makers.documented import HUB
from tests.makers.readme import ROOT

TEXT = (ROOT / "docs" / "tables.md").read_text()
COMMANDS = re.findall(r"^    (.+?)(?:\s+#.*)?$", TEXT, re.MULTILINE)
TITLES = {
    "audiocaps": "AudioCaps", "clotho": "Clotho", "esc50": "ESC-50", "vggss": "VGG-SS", "extended-vggss": "Extended VGG-SS",
    "extended-flickr": "Extended Flickr", "flickr-soundnet": "Flickr-SoundNet", "ave": "AVE", "music-solo": "MUSIC-Solo",
    "audioset": "AudioSet", "imagenet": "ImageNet", "modelnet40": "ModelNet40", "objaverse-lvis": "Objaverse-LVIS",
    "coco": "COCO", "flickr30k": "Flickr30K",
}  # fmt: skip


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("mcr ")])
def test_a_command_parses_and_names_what_there_is(command):
    name, *arguments = shlex.split(command)[1:]
    group: Any = typer.main.get_command(app)
    context = group.commands[name].make_context(name, arguments)  # raises what a user would see
    if name == "prepare":
        assert context.params["name"] in SETS
        # The recipes name the files of a set below this folder.
        assert context.params["folder"].as_posix() == f"data/downloads/{context.params['name']}"
    if name == "cut":
        assert context.params["name"] in VIDEO_SETS
    if name == "init":
        preset, without = context.params["preset"], context.params["without"]
        recipe = recipe_of(preset.removeprefix("tables/"))
        for left_out in filter(None, (without or "").split(",")):
            assert left_out in recipe["connections"] or left_out in sets_of(recipe)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_its_commands_files_licences_and_sizes(table):
    section = next(part for part in TEXT.split("\n## ") if f"mcr init tables/{table}" in part)
    recipe = recipe_of(table)
    assert "mcr fetch" in section and "dvc repro" in section and "Not known:" in section
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| ")]
    for name in [*sets_of(recipe), *(set(HUB) & set(recipe["corpora"]))]:
        [row] = [row for row in rows if any(each.strip().startswith(TITLES[name]) for each in row[1].split(","))]
        assert len(row) == 6 and all(cell.strip() for cell in row[1:5]), name
        if name not in HUB:
            assert f"mcr prepare {name} " in section
        if f"{name}-crops" in recipe["corpora"]:
            assert f"mcr crop {name} " in section
    for connection in recipe["connections"].values():
        leaf = next(iter(connection["join"].get("leaves", {}).values()), {})
        if file := (leaf or connection).get("train", {}).get("file") or connection["train"].get("file"):
            assert file.rpartition("/")[2] in TEXT
