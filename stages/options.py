"""Arguments that the stages share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pipeline.errors import UserError, choice

Names = Annotated[list[str], typer.Argument(help="Names in params.yaml.", show_default=False)]
BreakLock = Annotated[
    bool, typer.Option("--break-lock", help="Take over the output of a run that has certainly ended, on any machine.")
]
ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]

Entry = TypeVar("Entry")


def pick(table: Mapping[str, Entry], names: list[str], kind: str) -> list[tuple[str, Entry]]:
    """The entries called `names`.

    Raises:
        UserError: There is no entry of a name.
    """
    for name in names:
        if name not in table:
            # Not all names are in params.yaml: `mcr cut` and `mcr prepare` know theirs.
            raise UserError(f"There is no {kind} {name!r}.", choice(name, table))
    return [(name, table[name]) for name in names]
