"""`mcr init`: start from one of the recipes in presets/."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.printing import say, say_lines
from stages.project import ROOT, STAGES, make_project

if TYPE_CHECKING:
    from pipeline.params.model import Params

PRESETS = ROOT / "presets"
DOWNLOADS, POOL = Path("data/downloads"), Path("data/raw/texts/captions.jsonl")
DEMO = "demo"
# The demo's own stages make data/spaces/clip and others: with them in the project, weights of the user in that place
# would be an outdated result, which DVC removes.
DEMO_STAGES = "/data/demo/dvc.yaml"


def init(
    preset: Annotated[
        str,
        typer.Argument(help="Name of a file in presets/, without .yaml, such as tables/frozen.", show_default=False),
    ] = "",
    without: Annotated[
        str,
        typer.Option(
            "--without", help="Sets, corpora or connections to leave out, separated by commas.", show_default=False
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace params.yaml even if it was changed.")] = False,
) -> None:
    """Write a recipe to params.yaml and create the folders that it expects; an empty folder becomes a complete
    project.

    Without a name, list the recipes.

    --without leaves out what you do not have or want, and everything that only it needs.

    Examples:

      mcr init cmcr-audio-image

      mcr init tables/cmcr-audio-image --without ave,cmcr_trained
    """
    import yaml

    from pipeline.files.atomic import write_text
    from pipeline.params.load import check_params
    from pipeline.params.subtractions import without as leave_out
    from stages.context import make_plugins_folder

    paths = [*sorted(PRESETS.glob("*.yaml")), *sorted(PRESETS.glob("tables/*.yaml"))]
    presets = {path.relative_to(PRESETS).with_suffix("").as_posix(): path for path in paths}
    if not preset:
        say_lines("\n".join(presets))
        return
    if preset not in presets:
        raise UserError(f"There is no preset {preset!r}.", f"Choose one of: {', '.join(presets)}.")
    target = Path("params.yaml")
    recipes = {name: _for_root(path.read_text()) for name, path in presets.items()}
    if target.exists() and target.read_text() not in recipes.values() and not force:
        hint = "Copy it elsewhere, then use --force."
        if not STAGES.exists():
            hint += " Put it back afterwards if you only need dvc.yaml, which fits every params.yaml."
        raise UserError("params.yaml was changed, so it is not replaced.", hint)
    recipe = recipes[preset]
    if names := [name.strip() for name in without.split(",") if name.strip()]:
        recipe = leave_out(recipe, names, preset)
    params = check_params(yaml.safe_load(recipe), preset)
    if make_project(preset == DEMO):
        say("dvc.yaml, .gitignore, .dvcignore and .dvc are new: this folder is a project now.")
    write_text(target, recipe)
    _ignore_demo(preset != DEMO)
    make_plugins_folder()
    say(f"params.yaml is {preset} now. Its files belong here:")
    _make_places(params)
    _say_next(params)


def _make_places(params: "Params") -> None:
    """Make the folders that the recipe expects, and say what belongs there."""
    for name in params.spaces:
        folder = Path("data/spaces", name)
        folder.mkdir(parents=True, exist_ok=True)
        held = ", ".join(sorted(path.name for path in folder.iterdir()))
        say(f"  {folder}/  the weights of the space {name}" + (f"; it holds {held}" if held else ""))
    for name, corpus in params.corpora.items():
        for source in map(Path, corpus.places):
            (source.parent if source.suffix else source).mkdir(parents=True, exist_ok=True)
        say(f"  {', '.join(corpus.places)}  the corpus {name}: {', '.join(corpus.modalities)}")
    for name, file in _published(params):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        say(f"  {file}  the published projectors of {name}, from the repository of their authors")


def _published(params: "Params") -> "Iterator[tuple[str, str]]":
    """Connections with the files of projectors that they name."""
    for name, links in params.links.items():
        for link in links:
            if file := getattr(params.connections[name].train_of(link.spaces), "file", ""):
                yield name, file


def _say_next(params: "Params") -> None:
    """The next commands, and what each costs."""
    from pipeline.fetch.settings import total_size

    say("Next:")
    if params.fetch:
        fetched = total_size(entry for entries in params.fetch.values() for entry in entries)
        parts = ", ".join(params.fetch)
        say(f"  mcr fetch   # {fetched} from the Hugging Face Hub: {parts}; `mcr fetch --list` says more")
    for command in _preparations(params):
        say(f"  {command}")
    say("  mcr doctor  # 0 bytes; says what is still missing")
    say("  dvc repro   # twice the raw data, and 4 kB for each sample in each space; `mcr plan` says it exactly")


def _preparations(params: "Params") -> "Iterator[str]":
    """The commands that make corpora of published files, which a person puts into the folders that these name."""
    from pipeline.prepare import SETS

    written: dict[str, str] = {}
    for corpus in params.corpora.values():
        for place in map(Path, corpus.places):
            if place == POOL:
                yield f"mcr text-pool {DOWNLOADS}"
            elif place.parent.name in SETS and place.suffix in (".jsonl", ""):
                folder = corpus.files and os.path.normpath(place.parent / corpus.files)
                written[place.parent.name] = written.get(place.parent.name) or folder
    for name, folder in written.items():
        yield f"mcr prepare {name} {folder or DOWNLOADS / name}"
        if f"{name}-crops" in params.corpora:
            yield f"mcr crop {name} BOXES.csv {folder or DOWNLOADS / name}/frames"


def _ignore_demo(ignored: bool) -> None:
    """Take the demo's stages out of the DVC project, or back into it."""
    from pipeline.files.atomic import write_text

    path = Path(".dvcignore")
    lines = path.read_text().splitlines() if path.exists() else []
    if ignored != (DEMO_STAGES in lines):
        lines = [*lines, DEMO_STAGES] if ignored else [line for line in lines if line != DEMO_STAGES]
        write_text(path, "".join(f"{line}\n" for line in lines))


def _for_root(text: str) -> str:
    """The recipe with the path of its JSON schema as it is from the project's folder."""
    for nested in ("$schema=params.schema.json", "$schema=../params.schema.json"):
        text = text.replace(nested, "$schema=presets/params.schema.json")
    return text
