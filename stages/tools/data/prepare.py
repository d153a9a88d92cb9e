"""`mcr prepare` and `mcr crop`: published evaluation sets, and proposals of a detector, become corpora."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say, say_lines


def prepare(
    name: Annotated[str, typer.Argument(help="The set; without one, list the known sets.", show_default=False)] = "",
    folder: Annotated[Path | None, typer.Argument(help="Folder of its publishers' files.", show_default=False)] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="Prompt with {} for the class; repeat for several; replaces the set's own.", show_default=False
        ),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Write it into params.yaml, keeping comments and order.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Read a published evaluation set and print what to add to params.yaml.

    Its files stay where they are; manifests, captions and prompts go to data/raw/<set>, classes and boxes to
    data/annotations.

    --add adds jobs for the spaces of connections that embed the set's modalities. Each task gets the connections and
    a frozen space that embed both of its modalities, and baselines.

    Examples:

      mcr prepare esc50 downloads/ESC-50-master

      mcr prepare audiocaps downloads/audiocaps --add
    """
    from pipeline.prepare import SETS
    from pipeline.prepare.entries import entries
    from pipeline.prepare.prepared import write_prepared
    from stages.context import ANNOTATIONS
    from stages.options import pick

    if not name:
        say_lines("\n".join(f"{known}: {', '.join(each.tasks)}" for known, each in SETS.items()))
        return
    [(_, chosen)] = pick(SETS, [name], "evaluation set")
    if folder is None or not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder." if folder else f"Where are the files of {name}?",
            f"Run `mcr prepare {name} FOLDER` with the folder of its files.",
        )
    if bad := next((each for each in template or () if "{}" not in each), None):
        raise UserError(f"The template {bad!r} has no place for the class.", "Write {} where its name goes.")
    prepared = chosen.read(folder, tuple(template or chosen.templates))
    raw = Path("data/raw", name)
    counts = write_prepared(name, prepared, raw, ANNOTATIONS)
    rows = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    say(f"# {name}, {prepared.split}: {prepared.listed:,} listed; {rows} in {raw} and {ANNOTATIONS}")
    found = entries(name, prepared, chosen.tasks, folder, raw)
    if add:
        from pipeline.params.additions import add_set

        added, left_out = add_set(params_file, found, chosen.preparation)
        say(f"added to {params_file}: {', '.join(added) or 'nothing new'}")
        say_lines("\n".join(f"left out: {each}" for each in left_out))
        return
    if known := _known(params_file, found["corpora"]):
        say(f"{params_file} reads {', '.join(known)}; with --add it would have all of the set")
        return
    _say_entries(found, chosen.preparation)


def _known(params_file: Path, corpora: Mapping[str, object]) -> list[str]:
    """Those of `corpora` that the parameters have as they are here; of a recipe all that it uses."""
    from pipeline.params.load import read_raw

    there = read_raw(params_file).get("corpora") if params_file.is_file() else None
    return [name for name, entry in corpora.items() if isinstance(there, Mapping) and there.get(name) == entry]


def _say_entries(found: Mapping[str, object], preparation: Mapping[str, Mapping[str, str | int]]) -> None:
    """Print what belongs into params.yaml."""
    import yaml

    say("# Add this to params.yaml, with jobs in `encode`, and in each task `connections`, `space` or `baselines`;")
    say("# `--add` does it:")
    for family, options in preparation.items():
        said = ", ".join(f"{option}: {value}" for option, value in options.items())
        say(f"# A job of point clouds through a space of {family} has `options: {{{said}}}`.")
    say_lines(yaml.safe_dump(found, sort_keys=False).removesuffix("\n"))


def crop(
    name: Annotated[str, typer.Argument(help="The evaluation set.", show_default=False)],
    proposals: Annotated[
        Path, typer.Argument(help="Table with image, x0, y0, x1, y1 as fractions of the picture.", show_default=False)
    ],
    pictures: Annotated[Path, typer.Argument(help="Folder of the pictures.", show_default=False)],
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Crop a detector's boxes from pictures, for source localisation.

    Example: mcr crop vggss detections.csv downloads/vggss/frames
    """
    from pipeline.names import check_name
    from pipeline.prepare.crops import cut_crops
    from stages.context import ANNOTATIONS, ConsoleProgress

    check_name(name, "evaluation set")
    folder, table = Path("data/raw", name, "crops"), ANNOTATIONS / f"{name}-crops.parquet"
    count = cut_crops(proposals, pictures, folder, table, ConsoleProgress())
    say(f"crop {name}: {count:,} crops in {folder}, their boxes in {table}")
    corpus = {f"{name}-crops": {"modalities": ["image"], "source": folder.as_posix()}}
    if not _known(params_file, corpus):
        say("# Add to `corpora` in params.yaml:")
        say(f"{name}-crops: {{modalities: [image], source: {folder}}}")
