"""`mcr metrics`: the results as a table."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.inert import inert
from stages.options import ParamsFile
from stages.printing import note, say_lines

if TYPE_CHECKING:
    import pandas as pd


# Changes since the metrics were measured that are named.
SHOWN = 3
# What is shown; tables of earlier versions lack other columns.
COLUMNS = ("task", "dataset", "direction", "connection", "method", "metric", "value", "n", "chance")


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
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Print the metrics, one row per method; the table also shows published numbers.

    Example: mcr metrics --format csv > metrics.csv
    """
    from pipeline.errors import UserError
    from pipeline.store.parquet import read_table
    from stages.context import METRICS

    if file.resolve() == (METRICS / "metrics.parquet").resolve():
        warn_of_changes(missing=False)  # who has the metrics of a colleague need not have what they were measured on
    if not file.is_file():
        raise UserError(f"{file} does not exist.", "Run `dvc repro`, or `mcr evaluate`.")
    rows: pd.DataFrame = read_table(file).to_pandas()
    if missing := [name for name in COLUMNS if name not in rows]:
        raise UserError(
            f"{file} is not a table of metrics: it has no {', '.join(missing)}.", "Run `mcr evaluate` again."
        )
    if direction != "all":
        chosen = rows.direction == direction
        if direction == "mean":
            chosen |= ~rows.task.isin(rows.task[chosen])
        rows = rows[chosen]
    if rows.empty and direction in ("mean", "all"):
        raise UserError(
            f"{file} holds no number.", "Add tasks under `evaluate` in params.yaml, then run `mcr evaluate`."
        )
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
        _print_tables(rows, Published(params_file))


def warn_of_changes(missing: bool = True) -> None:
    """Warn where the metrics were measured on something else than there is now.

    Args:
        missing: Whether to warn also of what is not there at all.

    Raises:
        CorruptError: They are damaged, or a table of them is missing.
    """
    from pipeline.store.integrity.made_from import changes_since
    from stages.context import EMBEDDINGS, METRICS, MODELS

    if changes := changes_since(METRICS, {"models": MODELS, "embeddings": EMBEDDINGS}, "mcr evaluate", missing):
        more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        shown = "; ".join(changes[:SHOWN]) + more
        note(f"warning: {shown} since the metrics were measured. Run `mcr evaluate` again.")


class Published:
    """What others published for the tasks of params.yaml; nothing without valid parameters."""

    def __init__(self, params_file: Path) -> None:
        from pipeline.errors import UserError
        from pipeline.params.load import load_params
        from pipeline.report.expected import said_of

        self._numbers: dict[tuple[str, str, str, str], str] = {}
        self._methods: dict[str, str] = {}
        try:
            params = load_params(params_file)
        except UserError:
            return
        self._methods = {name: connection.method for name, connection in params.connections.items()}
        for name, task in params.evaluate.tasks.items():
            for one in task.expected:
                self._numbers[name, one.direction, one.metric, one.of] = said_of(one.model_dump())

    def metrics(self, task: str, direction: str) -> set[str]:
        """Metrics of which something is known to be published, or known to be unknown."""
        return {metric for name, way, metric, _ in self._numbers if (name, way) == (task, direction)}

    def beside(self, task: str, direction: str, metric: str, connection: str, method: str) -> str:
        """The number for one row of the metrics; empty without one."""
        of = f"frozen_{connection}" if method == "frozen" else method
        of = connection if self._methods.get(connection) == method else of
        return self._numbers.get((task, direction, metric, of), "")


def _print_tables(rows: "pd.DataFrame", published: Published) -> None:
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
        beside = published.metrics(str(task), str(way))
        for name in names:
            for heading in (name, f"{name}, published")[: 1 + (name in beside)]:
                table.add_column(plain(heading), justify="right")
        chance = group.groupby("metric", sort=False).chance.first()
        if chance.notna().any():
            cells = [each for name in names for each in (_shown(name, chance[name]), "")[: 1 + (name in beside)]]
            table.add_row("", "chance", *cells, style="dim")
        for (connection, method), own in group.groupby(["connection", "method"], sort=False):
            values = own.set_index("metric").value
            cells = []
            for name in names:
                cells.append(_shown(name, values[name]) if name in values else "")
                if name in beside:
                    cells.append(published.beside(str(task), str(way), name, str(connection), str(method)))
            table.add_row(plain(connection), plain(method), *cells)
        Console().print(table)


def _shown(metric: str, value: float) -> str:
    from pipeline.report.table import is_share, metric_label

    if value != value:
        return ""
    if is_share(metric_label(metric)):
        return f"{100 * value:.1f}"
    return f"{value:.1f}" if "rank" in metric else f"{value:.3f}"
