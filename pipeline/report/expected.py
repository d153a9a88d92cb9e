"""What others published about a task, beside what was measured here: the quickest check of data and protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.report.table import BASELINE, FROZEN, Cell, Row, Table, is_share, metric_label

Published = Mapping[str, object]
"""A published number: `of`, `metric`, `direction`, `value` (in per cent where it is a share, None if unknown), `source`."""


def with_published(tables: Sequence[Table], published: Sequence[Published]) -> list[Table]:
    """`tables` with what others published in the cells of the same method, metric and direction."""
    numbers = {(str(one["of"]), str(one["direction"]), metric_label(str(one["metric"]))): one for one in published}

    def shown(table: Table, row: Row) -> Row:
        known = {label: numbers.get((name_of(row), table.direction, label)) for label in row.cells}
        cells = {
            label: replace(cell, published=said_of(number)) if (number := known[label]) else cell
            for label, cell in row.cells.items()
        }
        return replace(row, cells=cells)

    return [replace(table, rows=[shown(table, row) for row in table.rows]) for table in tables]


def said_of(number: Published) -> str:
    """The number as it was published, or that it is not known."""
    value = number.get("value")
    return f"{value:.1f}" if isinstance(value, int | float) else "unknown"


def beside_published(tables: Sequence[Table], published: Sequence[Published]) -> list[str]:
    """A sentence for each published number of the task that `tables` hold."""
    return [_sentence(tables, number) for number in published]


def _sentence(tables: Sequence[Table], number: Published) -> str:
    of, direction, label = str(number["of"]), str(number["direction"]), metric_label(str(number["metric"]))
    rows = [row for table in tables if table.direction == direction for row in table.rows if name_of(row) == of]
    cell = next((row.cells[label] for row in rows if label in row.cells), None)
    said = f"expected {said_of(number)}"
    measured = f"measured {_measured(cell, label)}" if cell else "not measured here"
    where = "mean of both directions" if direction == "mean" else direction
    return f"{of}, {label}, {where}: {said}, {measured} ({number['source']})"


def name_of(row: Row) -> str:
    """As tasks and headlines name a contender: a connection, a baseline, or frozen_<space>."""
    if row.group == FROZEN:
        return f"{FROZEN}_{row.connection}"
    return row.method if row.group == BASELINE or row.method.endswith(("_hubs", "_towers")) else row.connection


def _measured(cell: Cell, label: str) -> str:
    factor = 100 if is_share(label) else 1
    interval = "" if cell.low is None or cell.high is None else f" [{factor * cell.low:.1f}, {factor * cell.high:.1f}]"
    return f"{factor * cell.value:.1f}{interval}"
