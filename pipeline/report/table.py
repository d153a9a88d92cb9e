"""The result table: long metrics become rows of methods, grouped from what must fail to what bounds success."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.methods import methods
from pipeline.report.connection_files import BOUND, CONNECTION, CONTROL, ConnectionFiles, Record

BASELINE, FROZEN, HUBS, TOWERS = "baseline", "frozen", "hubs", "towers"
GROUPS = {
    CONTROL: "Negative controls: must be at chance",
    BASELINE: "Baselines: no projector is trained",
    FROZEN: "A frozen space by itself",
    CONNECTION: "Connections: made without a pair",
    TOWERS: "The same connections, an item entering by every tower that reads it",
    HUBS: "The same embeddings, another similarity: corrected for hubs with the unpaired memories",
    BOUND: "Bound: trained on true pairs",
}
MEAN = "mean"
# In front of a metric of retrieval where every sample of the query's class is right.
BY_CLASS = "class "
# Of a method that is measured in another way: what is appended to its name, what to its label, and its group.
VARIANTS = {"_hubs": (", hubs corrected", HUBS), "_towers": (", all towers", TOWERS)}
# What a method that is not trained is called, and what family it belongs to.
UNTRAINED = {
    "untrained": ("Untrained projectors", BASELINE),  # A random map: near chance, not exactly at it.
    "procrustes": ("Orthogonal Procrustes", "linear"),
    "unprojected": ("Spaces compared as they are", "linear"),
    "ridge": ("Ridge regression", "linear"),
    "ridge_pseudo": ("Ridge on pseudo-pairs", "linear"),
    "two_hop_nearest": ("Two hops, nearest", "hop"),
    "two_hop_softmax": ("Two hops, softmax", "hop"),
    "two_hop_perplexity": ("Two hops, perplexity 40", "hop"),
    "bridge": ("Training-free bridge", "bridge"),
    "frozen": ("Frozen", FROZEN),
}
CONTROLS = {"shuffled_overlap": "overlap shuffled", "random_partners": "random partners"}
METRIC_ORDER = (
    "R@",
    "top-",
    "cIoU",
    "LocAcc",
    "AUC",
    "AP",
    "max-F1",
    "mAP",
    "median rank",
    "mean rank",
    "gap",
    "alignment",
)
# Metrics from 0 to 1; all others (ranks, distances, logarithms) are shown as they are.
SHARES = ("R@", "mAP", "top-", "cIoU", "LocAcc", "AUC", "AP", "max-F1")


@dataclass(frozen=True)
class Cell:
    """One number with its interval, as the metrics file has it, and what others published for it, in words."""

    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int | None
    published: str = ""

    def overlaps(self, other: "Cell") -> bool:
        """Whether the intervals share a point; without intervals, whether the numbers are equal."""
        low, high = self.interval
        other_low, other_high = other.interval
        return low <= other_high and other_low <= high

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval; the value twice when there is none."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


@dataclass(frozen=True)
class Row:
    """One method of one connection; `through` names the frozen space that each modality enters by."""

    connection: str
    method: str
    label: str
    detail: str
    group: str
    family: str
    cells: Mapping[str, Cell]
    through: str = ""


@dataclass(frozen=True)
class Table:
    """All methods on one task in one direction."""

    task: str
    dataset: str
    direction: str
    metrics: Sequence[str]
    rows: Sequence[Row] = field(default=())

    @property
    def sides(self) -> tuple[str, str] | None:
        """Modality of the queries and of the gallery; None for the mean of both directions."""
        return split_direction(self.direction)

    @property
    def queries(self) -> int | None:
        """Number of queries; of the mean of both directions, number of items."""
        return max((cell.n for row in self.rows for cell in row.cells.values() if cell.n), default=None)

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """Rows by group, in the order of `GROUPS`."""
        grouped = [(title, [row for row in self.rows if row.group == group]) for group, title in GROUPS.items()]
        return [(title, rows) for title, rows in grouped if rows]

    @property
    def published(self) -> set[str]:
        """Metrics that have a column of published numbers."""
        return {name for row in self.rows for name, cell in row.cells.items() if cell.published}

    @property
    def chances(self) -> dict[str, float]:
        """Chance by metric."""
        cells = [(name, cell.chance) for row in self.rows for name, cell in row.cells.items()]
        return {name: chance for name, chance in cells if chance is not None}

    def find(self, connection: str, method: str) -> Row | None:
        """The row of one method."""
        return next((row for row in self.rows if (row.connection, row.method) == (connection, method)), None)


def called(method: str) -> tuple[str, str]:
    """What a method of the metrics is called, and what family it belongs to."""
    if record := methods().get(method):
        return record.label, BOUND if record.is_bound else CONNECTION
    for suffix, (said, group) in VARIANTS.items():
        if record := methods().get(method.removesuffix(suffix)):
            return f"{record.label}{said}", group
    return UNTRAINED.get(method, (method.replace("_", " ").capitalize(), BASELINE))


def trains_nothing(method: str) -> bool:
    """Whether a connection by this method is made without training, neither here nor, as published projectors are, elsewhere."""
    record = methods().get(method)
    return record is not None and bool(record.sets) and not record.objective


def candidates(tables: Sequence[Table], table: Table) -> int | None:
    """Number of gallery rows: the other direction asks with each of them."""
    back = table.sides and table.sides[::-1]
    same = [other for other in tables if (other.task, other.dataset) == (table.task, table.dataset)]
    return next((other.queries for other in same if back and other.sides == back), None)


def split_direction(direction: str) -> tuple[str, str] | None:
    """``audio_to_image`` as (audio, image); None when it names no two modalities."""
    match = re.fullmatch(r"(\w+?)\s*(?:->|→|_to_|2)\s*(\w+)", direction)
    return (match[1], match[2]) if match else None


def metric_label(metric: str) -> str:
    """How a metric is called on the page."""
    if metric.startswith("class_"):
        return BY_CLASS + metric_label(metric.removeprefix("class_"))
    match = re.fullmatch(r"(?:recall|r)(?:@|_at_|_|)(\d+)", metric.lower())
    if match:
        return f"R@{match[1]}"
    return {"map": "mAP", "median_rank": "median rank", "mean_rank": "mean rank"}.get(metric.lower(), metric).replace(
        "_", " "
    )


def is_share(label: str) -> bool:
    """Whether a metric lies between 0 and 1 and is shown in per cent."""
    return label.removeprefix(BY_CLASS).startswith(SHARES)


def build_tables(metrics: Sequence[Record], connections: Mapping[str, ConnectionFiles]) -> list[Table]:
    """One table per task, dataset and direction; the mean of both directions first."""
    keys = dict.fromkeys((str(r["task"]), str(r["dataset"]), str(r["direction"])) for r in metrics)
    tasks = list(dict.fromkeys((task, dataset) for task, dataset, _ in keys))
    tables = []
    for task, dataset in tasks:
        directions = [direction for t, d, direction in keys if (t, d) == (task, dataset)]
        # Stable: means before single directions, otherwise the order of the file.
        for direction in sorted(directions, key=lambda name: split_direction(name) is not None):
            chosen = [r for r in metrics if (r["task"], r["dataset"], r["direction"]) == (task, dataset, direction)]
            tables.append(_table(task, dataset, direction, chosen, connections))
    return tables


def _table(
    task: str, dataset: str, direction: str, records: Sequence[Record], connections: Mapping[str, ConnectionFiles]
) -> Table:
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    through = {(str(record["connection"] or ""), str(record["method"])): record.get("through") for record in records}
    for record in records:
        row = cells.setdefault((str(record["connection"] or ""), str(record["method"])), {})
        row[metric_label(str(record["metric"]))] = _cell(record)
    order = {name: index for index, name in enumerate(connections)}
    groups = list(GROUPS)
    rows = [replace(_row(*key, found, connections), through=through[key] or "") for key, found in cells.items()]
    rows.sort(key=lambda row: (groups.index(row.group), 0 if row.group == BASELINE else order.get(row.connection, -1)))
    metrics = sorted({name for found in cells.values() for name in found}, key=_metric_place)
    return Table(task, dataset, direction, metrics, rows)


def _cell(record: Record) -> Cell:
    low, high, chance, n = (_number(record.get(name)) for name in ("ci_low", "ci_high", "chance", "n"))
    return Cell(float(record["value"]), low, high, chance, None if n is None else int(n))


def _row(connection: str, method: str, cells: Mapping[str, Cell], connections: Mapping[str, ConnectionFiles]) -> Row:
    files = connections.get(connection)
    # A baseline may bear the name of a method: it is that method only where its connection was made by it.
    label, family = (
        UNTRAINED[method] if method in UNTRAINED and not (files and files.method == method) else called(method)
    )
    group = family if family in GROUPS else BASELINE
    detail = connection if group in (CONNECTION, HUBS, TOWERS, BOUND, FROZEN) else ""
    if group in (CONNECTION, HUBS, TOWERS, BOUND) and files and files.links and (kept := files.links[0].keep):
        detail = f"{detail}, own blocks {kept}"
    if group in (CONNECTION, HUBS, TOWERS) and files and files.group == CONTROL:
        group, detail = CONTROL, f"{connection}: {CONTROLS.get(files.control, files.control)}"
    return Row(connection, method, label, detail, group, family, cells)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None


def _metric_place(label: str) -> tuple[int, int, str]:
    bare = label.removeprefix(BY_CLASS)
    place = next((index for index, prefix in enumerate(METRIC_ORDER) if bare.startswith(prefix)), len(METRIC_ORDER))
    number = re.search(r"[@-](\d+)$", bare)
    return place, int(number[1]) if number else 0, label
