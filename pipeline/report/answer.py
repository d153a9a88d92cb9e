"""What the page opens with: every method on one scale against chance, the best without training, and the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.connection_files import BOUND, CONNECTION, CONTROL, ConnectionFiles
from pipeline.report.inputs import Inputs
from pipeline.report.sentences.findings import CHANCE_METHOD, percent, unpaired, within
from pipeline.report.table import BASELINE, VARIANTS, Cell, Row, Table, trains_nothing
from pipeline.report.yardstick import yardstick

SHOWN = (CONNECTION, BASELINE, CONTROL, BOUND)


@dataclass(frozen=True)
class Bar:
    """One method of the chart."""

    name: str
    detail: str
    group: str
    cell: Cell


@dataclass(frozen=True)
class Cost:
    """What one connection was made with.

    Attributes:
        name: Of the connection.
        label: Of its method.
        pairs: Rows that it learned from.
        true_pairs: How many of them are true pairs.
        steps: Steps of training.
        megabytes: Size of what was trained.
    """

    name: str
    label: str
    pairs: int
    true_pairs: int
    steps: int
    megabytes: float


@dataclass(frozen=True)
class Answer:
    """The chart and the sentence above it.

    Attributes:
        sentence: Which method is the best without a pair, and how far it is from everything else.
        title: Task and metric.
        bars: The best first.
        chance: Of the metric; None where it is not known.
        free: The best that needs no training; None where none was measured.
        oracle: What is reached with true pairs; None where none was trained.
    """

    sentence: str
    title: str
    bars: Sequence[Bar]
    chance: float | None
    free: Bar | None
    oracle: Bar | None

    @property
    def marks(self) -> dict[str, float]:
        """Where the lines of the chart stand, by what they are."""
        found = {"chance": self.chance}
        found |= {name: bar.cell.value for name, bar in (("free", self.free), ("ceiling", self.oracle)) if bar}
        return {name: value for name, value in found.items() if value is not None}


def answer(tables: Sequence[Table], inputs: Inputs) -> Answer | None:
    """The chart of the task that the page is about; None where no connection was measured by a recall."""
    table = _subject(tables, inputs.main)
    label = yardstick(table) if table else None
    if table is None or label is None:
        return None
    rows = [row for row in table.rows if label in row.cells and not row.method.endswith(tuple(VARIANTS))]
    bars = [_bar(row, row.cells[label]) for row in rows if row.group in SHOWN]
    bars.sort(key=lambda bar: -bar.cell.value)
    trained = _best(bars, CONNECTION)
    if trained is None:
        return None
    untrained = [
        _bar(row, row.cells[label])
        for row in rows
        if (row.group == BASELINE and row.method != CHANCE_METHOD)
        or (row.group == CONNECTION and trains_nothing(row.method))
    ]
    free = max(untrained, key=lambda bar: bar.cell.value, default=None)
    bound = _best(bars, BOUND)
    chance = table.chances.get(label)
    sides = " and ".join(_sides(tables, table)) or table.task
    title = f"{sides}, {label}" + (
        f", {table.queries} {'queries' if table.sides else 'items'}" if table.queries else ""
    )
    return Answer(_sentence(trained, label, chance, free, bound), title, bars, chance, free, bound)


def costs(inputs: Inputs) -> list[Cost]:
    """What each connection that is no control was made with, in the order of the params."""
    return [_cost(files) for files in inputs.connections.values() if files.group != CONTROL and files.config]


def _cost(files: ConnectionFiles) -> Cost:
    pairs = sum(part.rows or 0 for part in files.parts)
    histories = {part.link.place if not part.link.part else "": part.history or [] for part in files.parts}
    weights = [path for path in sorted((files.data / "models" / files.name).rglob("*.safetensors")) if path.is_file()]
    return Cost(
        files.name,
        files.record.label if files.record else files.method,
        0 if files.pairs_are in ("texts", "none") else pairs,
        pairs if files.group == BOUND else 0,
        sum(len(rows) for rows in histories.values()),
        sum(path.stat().st_size for path in weights) / 1e6,
    )


def _subject(tables: Sequence[Table], main: ConnectionFiles | None) -> Table | None:
    """The summary of the first task that no space can do alone; of the first task otherwise."""
    measured = [table for table in tables if main and table.find(main.name, main.method) and yardstick(table)]
    chosen = next((t for t in measured if main and t.sides and unpaired(main, t.sides)), None)
    task = (chosen or measured[0]).task if measured else ""
    return next((table for table in measured if table.task == task), None)


def _sides(tables: Sequence[Table], table: Table) -> tuple[str, ...]:
    same = [
        other.sides for other in tables if (other.task, other.dataset) == (table.task, table.dataset) and other.sides
    ]
    return same[0] if same else ()


def _bar(row: Row, cell: Cell) -> Bar:
    return Bar(row.label, row.detail, row.group, cell)


def _best(bars: Sequence[Bar], group: str) -> Bar | None:
    return max((bar for bar in bars if bar.group == group), key=lambda bar: bar.cell.value, default=None)


def _sentence(best: Bar, label: str, chance: float | None, free: Bar | None, bound: Bar | None) -> str:
    value = best.cell.value
    said = [
        f"{best.name} ({best.detail}) is the best connection that was made without a pair: {label} {percent(value)}"
    ]
    if best.cell.low is not None and best.cell.high is not None:
        said[0] += f" (95 % interval {100 * best.cell.low:.1f} to {100 * best.cell.high:.1f})"
    if chance:
        said.append(f"{value / chance:.0f} times chance")
    if free == best:
        said.append("with nothing trained")
    elif free:
        points = 100 * (value - free.cell.value)
        where = "above" if points >= 0 else "below"
        said.append(f"{abs(points):.1f} points {where} {within(free.name)}, the best without training")
    if bound and bound.cell.value > (chance or 0):
        way = (value - (chance or 0)) / (bound.cell.value - (chance or 0))
        said.append(f"{100 * way:.0f} % of the way from chance to what true pairs give ({percent(bound.cell.value)})")
    return ", ".join(said) + "."
