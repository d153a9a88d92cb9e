"""The plots of the page: how training went, what it did to similarities, how recall grows with the rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.report.connection_files import BOUND, CONNECTION, CONTROL, ConnectionFiles, LinkFiles, Record
from pipeline.report.figures.plots import STYLES, Axes, Point, histogram, line_chart
from pipeline.report.table import Row, Table, called
from pipeline.report.yardstick import yardstick

NOT_A_LOSS = {"step", "epoch", "learning_rate", "seconds"}
STAGES = ("before", "after")


@dataclass(frozen=True)
class Figure:
    """A plot and what stands under it."""

    svg: Markup
    caption: str


def training_figure(files: LinkFiles) -> Figure | None:
    """Loss terms over the steps of one link."""
    history = files.history
    if not history:
        return None
    names = [name for name, value in history[0].items() if isinstance(value, float) and name not in NOT_A_LOSS]
    lines = {name.replace("_", " "): [(float(r["step"]), float(r[name])) for r in history] for name in names}
    said = ", ".join(f"{name} {points[0][1]:.2f} to {points[-1][1]:.2f}" for name, points in lines.items())
    caption = f"{files.label}: {said} over {len(history)} recorded steps. Terms as computed, before their weights."
    return Figure(line_chart(lines, Axes("step", "loss"), f"Loss terms of {files.label} over training steps"), caption)


def similarity_figures(records: Sequence[Record] | None, main: ConnectionFiles | None) -> list[Figure]:
    """Histograms before and after training, true pairs against random ones."""
    chosen = [r for r in records or () if main and r["connection"] == main.name and r["stage"] in STAGES]
    figures = []
    groups = dict.fromkeys((str(r["task"]), str(r["stage"]), str(r["method"])) for r in chosen)
    for task, stage, method in sorted(groups, key=lambda group: (group[0], STAGES.index(group[1]))):
        series: dict[str, list[tuple[float, float, float]]] = {}
        for r in chosen:
            if (r["task"], r["stage"], r["method"]) == (task, stage, method):
                bars = series.setdefault(f"{r['pairs']} pairs", [])
                bars.append((float(r["low"]), float(r["high"]), float(r["count"])))
        densities = {name: _density(bins) for name, bins in series.items()}
        title = f"{task}, {stage} training: {called(method)[0]}"
        means = ", ".join(f"{name} {_mean(bins):.2f}" for name, bins in densities.items())
        svg = histogram(densities, Axes("cosine similarity", "density"), title)
        figures.append(Figure(svg, f"{title}. Mean cosine: {means}."))
    return figures


def recall_figure(ranks: Sequence[Record] | None, table: Table | None) -> Figure | None:
    """Recall over the number of candidates that one looks at, for the methods worth comparing."""
    if not ranks or table is None:
        return None
    found: dict[tuple[str, str], list[float]] = {}
    for record in ranks:
        if record["task"] == table.task:
            found.setdefault((str(record["connection"] or ""), str(record["method"])), []).append(float(record["rank"]))
    furthest = max((max(values) for values in found.values()), default=1.0)
    lines = {
        f"{row.label} ({row.detail})" if row.detail else row.label: _recall(found[row.connection, row.method], furthest)
        for row in _compared(table)
        if (row.connection, row.method) in found
    }
    title = "Recall against the number of candidates looked at, both directions together"
    caption = f"{title}. Of controls, linear and two-hop baselines, only the best of each is drawn."
    return Figure(line_chart(lines, Axes("candidates looked at (k)", "recall", True, 1.0, True), title), caption)


def _compared(table: Table) -> list[Row]:
    """Connections first; of every other family only the best row; no more than there are line styles."""
    label = yardstick(table) or ""
    best: dict[str, Row] = {}
    for row in sorted(table.rows, key=lambda row: -row.cells[label].value if label in row.cells else 0.0):
        kind = {"linear": "plain", "hop": "plain", "bridge": "bridge"}.get(row.family, row.group)
        best.setdefault(kind, row)
    others = [best[kind] for kind in (BOUND, "bridge", "plain", CONTROL) if kind in best]
    connections = [row for row in table.rows if row.group == CONNECTION]
    return [*connections[: STYLES - len(others)], *others]


def _recall(ranks: Sequence[float], furthest: float) -> list[Point]:
    steps = [k for power in range(7) for k in (10**power * f for f in (1, 1.5, 2, 3, 5, 7)) if k <= max(furthest, 10)]
    return [(float(k), sum(rank <= k for rank in ranks) / len(ranks)) for k in steps if k == int(k)]


def _density(bins: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    area = sum((high - low) * count for low, high, count in bins) or 1.0
    return sorted((low, high, count / area) for low, high, count in bins)


def _mean(bins: Sequence[tuple[float, float, float]]) -> float:
    return sum((low + high) / 2 * (high - low) * density for low, high, density in bins)


def training_figures(connections: Mapping[str, ConnectionFiles]) -> list[Figure]:
    """Training of every link that has a history, controls last."""
    ordered = sorted(connections.values(), key=lambda files: (CONNECTION, BOUND, CONTROL).index(files.group))
    # Links that were trained together have one history.
    trained = [part for files in ordered for part in files.parts if not part.link.part or part is files.parts[0]]
    return [figure for files in trained if (figure := training_figure(files))]
