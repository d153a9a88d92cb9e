"""`mcr convert-openshape`: point clouds of OpenShape's files, without opening their pickles."""

from pathlib import Path
from typing import Annotated

import typer

from stages.printing import say


def convert_openshape(
    source: Annotated[Path, typer.Argument(help="Folder of OpenShape's .npy files.")],
    folder: Annotated[Path, typer.Argument(help="Where the plain .npy files go: the `source` of a corpus.")],
    colours: Annotated[bool, typer.Option("--colours", help="Keep the colours: [N, 6] instead of [N, 3].")] = False,
) -> None:
    """Extract the point clouds from OpenShape's files.

    These files hold pickles, which can contain programs. Nothing in them is run: they are read as data, and refused
    if they contain anything but numbers and names.

    Example: mcr convert-openshape downloads/objaverse data/raw/shapes
    """
    from pipeline.shard.formats.openshape import convert_openshape as convert
    from stages.context import ConsoleProgress

    result = convert(source, folder, colours, ConsoleProgress())
    for path, reason in result.refused[:10]:
        say(f"refused {path}: {reason}")
    total = result.written + len(result.refused)
    say(f"convert-openshape: in {total:,} = {result.written:,} out + {len(result.refused):,} rejected")
    if not result.written:
        raise typer.Exit(2)
