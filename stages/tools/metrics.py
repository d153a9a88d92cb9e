"""`mcr metrics`: the results as a table."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.inert import inert
from stages.printing import say_lines

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """How to print a table."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def metrics(
    direction: Annotated[
        str,
        typer.Option(
            help="`mean` (of tasks that have none: what they have), one direction such as `audio->image`, or `all`."
        ),
    ] = "mean",
    form: Annotated[
        Format, typer.Option("--format", help="table for people, csv or json for programs.")
    ] = Format.TABLE,
    file: Annotated[Path, typer.Option(help="The metrics.")] = Path("data/metrics/metrics.parquet"),
) -> None:
    """Print what was measured, one row per method.

    Example: mcr metrics --format csv > metrics.csv
    """
    from pipeline.errors import UserError
    from pipeline.store.parquet import read_table

    if not file.is_file():
        raise UserError(f"{file} does not exist.", "Run `dvc repro`, or `mcr evaluate`.")
    rows: pd.DataFrame = read_table(file).to_pandas()
    if direction != "all":
        chosen = rows.direction == direction
        if direction == "mean":
            chosen |= ~rows.task.isin(rows.task[chosen])
        rows = rows[chosen]
    if rows.empty:
        raise UserError(
            f"There are no metrics for the direction {direction!r}.",
            "Use `mean`, `all`, or a pair such as `audio->image`.",
        )
    if form is Format.CSV:
        say_lines(rows.to_csv(index=False).removesuffix("\n"))
    elif form is Format.JSON:
        say_lines(rows.to_json(orient="records", indent=1))
    else:
        _print_tables(rows, direction)


def _print_tables(rows: "pd.DataFrame", direction: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def plain(text: object) -> Text:
        """What was measured may be called anything; brackets are not markup."""
        return Text(inert(str(text)))

    for (task, dataset, way), group in rows.groupby(["task", "dataset", "direction"], sort=False):
        names = list(dict.fromkeys(group.metric))
        table = Table(title=plain(f"{task} on {dataset}, {way}, n = {group.n.max():,}"))
        for heading in ("connection", "method"):
            table.add_column(heading)
        for name in names:
            table.add_column(plain(name), justify="right")
        chance = group.groupby("metric", sort=False).chance.first()
        if chance.notna().any():
            table.add_row("", "chance", *(_shown(name, chance[name]) for name in names), style="dim")
        for (connection, method), cells in group.groupby(["connection", "method"], sort=False):
            values = cells.set_index("metric").value
            table.add_row(
                plain(connection),
                plain(method),
                *(_shown(name, values[name]) if name in values else "" for name in names),
            )
        Console().print(table)


def _shown(metric: str, value: float) -> str:
    from pipeline.report.table import is_share, metric_label

    if value != value:
        return ""
    if is_share(metric_label(metric)):
        return f"{100 * value:.1f}"
    return f"{value:.1f}" if "rank" in metric else f"{value:.3f}"
