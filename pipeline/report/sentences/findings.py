"""Plain sentences about the result table, each computed from its numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.report.connection_files import BOUND, CONNECTION, CONTROL, ConnectionFiles
from pipeline.report.inputs import Inputs
from pipeline.report.sentences.differences import FROZEN_PREFIX, UNTRAINED_PREFIX, difference, paired
from pipeline.report.table import BASELINE, FROZEN, Cell, Row, Table, candidates, trains_nothing
from pipeline.report.yardstick import yardstick

# The baseline that is not a rival.
CHANCE_METHOD = "untrained"


@dataclass(frozen=True)
class Finding:
    """One sentence; a loud one says that something is not as it must be."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Headline:
    """The number that the page opens with."""

    text: str
    value: str
    times_chance: str


def percent(value: float) -> str:
    """A share in per cent with one decimal, as everywhere on the page."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def headlines(tables: list[Table], main: ConnectionFiles) -> list[Headline]:
    """For each direction of one task, the first that no space could do alone: how often the true sample is among the first ten."""
    measured = [table for table in tables if table.sides and table.find(main.name, main.method)]
    never_paired = [table for table in measured if table.sides and unpaired(main, table.sides)]
    chosen = (never_paired or measured)[:1]
    found: list[Headline] = []
    for table in measured:
        row, label = table.find(main.name, main.method), yardstick(table)
        if not (table.sides and row and label and label in row.cells and table.task == chosen[0].task):
            continue
        source, target = table.sides
        cell = row.cells[label]
        times = f"{cell.value / cell.chance:.0f} times chance" if cell.chance else ""
        text = f"{source} finds its {target} among {candidates(tables, table) or 'all'} candidates at {label}"
        found.append(Headline(text, percent(cell.value), times))
    return found


def unpaired(main: ConnectionFiles, sides: tuple[str, str]) -> bool:
    """Whether no space of the connection embeds both modalities, and the method does not use true pairs."""
    together = any(set(sides) <= set(space.get("modalities", ())) for space in main.spaces.values())
    return main.group == CONNECTION and bool(main.spaces) and not together


def findings(table: Table, inputs: Inputs) -> list[Finding]:
    """What one table says about the main connection, its rivals, its bound and the controls."""
    label = yardstick(table)
    main = inputs.main
    row = table.find(main.name, main.method) if main else None
    if label is None:
        return []
    # What a frozen space can do by itself needs no control and has no bound.
    alone = any(other.group == FROZEN for other in table.rows)
    said = _controls(table, label, alone)
    if row and label in row.cells:
        said += _emergent(main, inputs.tasks.get(table.task, {})) if main else []
        said += _against_untrained(table, label, inputs)
        said += _against_baselines(table, row, label, inputs) + _against_connections(table, row, label, inputs)
        said += [] if alone else _against_oracle(table, row, label)
        said += _against_frozen(table, row, label, inputs)
    return said


def _emergent(main: ConnectionFiles, modalities: Iterable[str]) -> list[Finding]:
    """What a connection of leaves finds between two of them, which no data ever linked."""
    base = main.base
    if not base:
        return []
    homes = [
        {space for space, facts in main.spaces.items() if modality in facts.get("modalities", ())}
        for modality in modalities
    ]
    if len(homes) != 2 or any(base in home for home in homes) or homes[0] & homes[1]:
        return []
    first, second = modalities
    return [Finding(f"Emergent: no data ever linked {first} and {second}; they meet in {base}, which embeds neither.")]


def _with(table: Table, label: str, **wanted: str) -> list[tuple[Row, Cell]]:
    rows = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return [(row, row.cells[label]) for row in rows if label in row.cells]


def _name(row: Row) -> str:
    return f"{row.label} ({row.detail})" if row.detail else row.label


def _controls(table: Table, label: str, alone: bool) -> list[Finding]:
    said, at_chance = [], []
    for row, cell in _with(table, label, group=CONTROL):
        if cell.chance is None:
            continue
        if cell.interval[0] > cell.chance:
            text = (
                f"Control not at chance: {_name(row)} reaches {label} {percent(cell.value)}, and its interval starts"
                f" above chance ({percent(cell.chance)}). Something leaks, or the control does not break what it should"
                " break: do not trust the other rows before this is explained."
            )
            said.append(Finding(text, loud=True))
        else:
            at_chance.append(_name(row))
    if at_chance:
        said.append(Finding(f"At chance, as it must be: {'; '.join(at_chance)}."))
    return said or ([] if alone else [Finding("No negative control was measured.")])


def _against_baselines(table: Table, row: Row, label: str, inputs: Inputs) -> list[Finding]:
    cell, said = row.cells[label], []
    rivals = [pair for family in ("linear", "hop") for pair in _with(table, label, family=family)]
    if rivals:
        best, best_cell = max(rivals, key=lambda pair: pair[1].value)
        ratio = f"{cell.value / best_cell.value:.2f} x" if best_cell.value else "more than"
        text = f"{row.label} reaches {label} {percent(cell.value)}: {ratio} the best linear or two-hop baseline"
        text += f" ({best.label}, {percent(best_cell.value)})"
        overlap = ", but their intervals overlap" if cell.overlaps(best_cell) else "; their intervals do not overlap"
        points = paired(table, label, row, f"{UNTRAINED_PREFIX}{best.method}", inputs)
        said.append(Finding(f"{text}, {points}." if points else f"{text}{overlap}."))
    for bridge, bridge_cell in _with(table, label, family="bridge"):
        numbers = f"({percent(bridge_cell.value)} against {percent(cell.value)})"
        found = difference(table, label, row, f"{UNTRAINED_PREFIX}{bridge.method}", inputs)
        equal = found[1] <= 0 <= found[2] if found else cell.overlaps(bridge_cell)
        shown = "the interval of their difference does not contain 0" if found else "their intervals do not overlap"
        if equal:
            where = "interval of their difference" if found else "intervals"
            text = f"The {bridge.label.lower()} reaches the same as {row.label} within the {where} {numbers}"
            text += "." if trains_nothing(row.method) else f": here its training adds nothing measurable to {label}."
        elif bridge_cell.value > cell.value:
            text = f"The {bridge.label.lower()}, without any training, is better than {row.label} {numbers}; {shown}."
        else:
            text = f"{row.label} is better than the {bridge.label.lower()} {numbers}; {shown}."
        said.append(Finding(text))
    return said


def _against_untrained(table: Table, label: str, inputs: Inputs) -> list[Finding]:
    """Each connection minus the best baseline, on the same samples."""
    free = [pair for pair in _with(table, label, group=BASELINE) if pair[0].method != CHANCE_METHOD]
    if not free:
        return []
    best, _ = max(free, key=lambda pair: pair[1].value)
    said = []
    for row, _ in _with(table, label, group=CONNECTION):
        found = difference(table, label, row, f"{UNTRAINED_PREFIX}{best.method}", inputs)
        if not found:
            continue
        value, low, high = found
        verb = f"gains {100 * value:.1f} points on" if value > 0 else f"loses {-100 * value:.1f} points to"
        level = not round(1000 * value)
        verb = "is level with" if level else verb
        text = f"{_name(row)} {verb} the best baseline, {within(best.label)}, at {label} on the same samples"
        text += f" (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        said.append(Finding(text + (", which may be chance." if low <= 0 <= high and not level else ".")))
    return said


def within(label: str) -> str:
    """A label inside of a sentence."""
    lowered = label[:1].lower() + label[1:] if label.startswith(("Two", "Training", "Spaces")) else label
    return f"the {lowered}" if label.startswith("Training") else lowered


def _against_connections(table: Table, row: Row, label: str, inputs: Inputs) -> list[Finding]:
    cell, said = row.cells[label], []
    for other, other_cell in _with(table, label, group=CONNECTION):
        if other.connection == row.connection:
            continue
        verdict = "higher" if other_cell.value > cell.value else "lower"
        if cell.overlaps(other_cell):
            verdict = "the intervals overlap; the difference on the same samples was not measured"
        verdict = paired(table, label, other, row.connection, inputs) or verdict
        numbers = f"{percent(other_cell.value)} against {percent(cell.value)} of {_name(row)}"
        said.append(Finding(f"{_name(other)} reaches {label} {numbers}: {verdict}."))
    return said


def _against_oracle(table: Table, row: Row, label: str) -> list[Finding]:
    bounds = _with(table, label, group=BOUND)
    cell = row.cells[label]
    if not bounds:
        return [Finding("No oracle was trained on true pairs, so what could be reached at best is unknown.")]
    best, bound = max(bounds, key=lambda pair: pair[1].value)
    chance = cell.chance or 0.0
    if bound.value <= max(cell.value, chance):
        than = "the connection" if cell.value >= chance else "chance"
        numbers = f"({percent(bound.value)} against {percent(max(cell.value, chance))})"
        return [Finding(f"The oracle is not above {than} {numbers}: it bounds nothing here.", loud=True)]
    share = (cell.value - chance) / (bound.value - chance)
    text = f"{best.label}, trained on true pairs, reaches {label} {percent(bound.value)}; without a pair"
    return [Finding(f"{text} {row.label} covers {100 * share:.0f} % of the way from chance to there.")]


def _against_frozen(table: Table, row: Row, label: str, inputs: Inputs) -> list[Finding]:
    cell, said = row.cells[label], []
    for frozen, frozen_cell in _with(table, label, group=FROZEN):
        found = difference(table, label, row, f"{FROZEN_PREFIX}{frozen.connection}", inputs)
        low, high = (
            found[1:]
            if found
            else (cell.interval[0] - frozen_cell.interval[1], cell.interval[1] - frozen_cell.interval[0])
        )
        verdict = "not kept" if high < 0 else "improved" if low > 0 else "kept within the interval"
        if points := paired(table, label, row, f"{FROZEN_PREFIX}{frozen.connection}", inputs):
            verdict = f"{verdict}: {points}"
        # Two methods may reach the same number by chance, or since all find everything; only a base keeps its bits.
        base = inputs.main.base if inputs.main else ""
        if cell == frozen_cell and (base, row.through) == (frozen.connection, frozen.through):
            verdict = "kept exactly, to the last bit"
        numbers = f"{percent(frozen_cell.value)}; connected by {row.label}: {percent(cell.value)}"
        said.append(Finding(f"What {frozen.detail} can do by itself: {label} {numbers}, {verdict}."))
    return said
