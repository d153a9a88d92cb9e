"""Small plots as inline SVG: they follow the page's colours, light or dark, and their bytes depend on the data only."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 72, 12, 12, 44
MOST_POINTS = 120
STYLES = 6  # colours and dashes that the style sheet knows

Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """What an axis says and how far it goes.

    Attributes:
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic; its values must be positive then.
        top: Upper end of the vertical axis; from the data when None.
        percent: Whether vertical values are shares to be shown in per cent.
    """

    x: str
    y: str
    log_x: bool = False
    top: float | None = None
    percent: bool = False


def line_chart(lines: Mapping[str, Sequence[Point]], axes: Axes, title: str) -> Markup:
    """Draw one line per name, with a legend; `title` is what a screen reader says."""
    thinned = {name: thin(points) for name, points in lines.items() if points}
    return _chart(thinned, axes, title, lambda points: points, filled=False)


def histogram(series: Mapping[str, Sequence[tuple[float, float, float]]], axes: Axes, title: str) -> Markup:
    """Draw one outline per name from its bins (low, high, height)."""
    outlines = {
        name: [point for low, high, height in bins for point in ((low, height), (high, height))]
        for name, bins in series.items()
        if bins
    }
    return _chart(outlines, axes, title, _closed, filled=True)


def _closed(points: Sequence[Point]) -> list[Point]:
    return [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points, each the mean of neighbouring ones; a line keeps its course and loses its jitter."""
    count = len(points)
    if count <= most:
        return list(points)
    edges = [round(index * count / most) for index in range(most + 1)]
    groups = [points[low:high] for low, high in pairwise(edges)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _chart(
    lines: Mapping[str, Sequence[Point]],
    axes: Axes,
    title: str,
    shape: Callable[[Sequence[Point]], Sequence[Point]],
    filled: bool,
) -> Markup:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    if not xs:
        return Markup("")
    x_ticks = _powers(min(xs), max(xs)) if axes.log_x else ticks(min(xs), max(xs))
    y_ticks = ticks(min(0.0, *ys), axes.top if axes.top is not None else max(ys))
    warp = math.log if axes.log_x else float
    low_x, high_x = warp(min(xs)), warp(max(xs))
    low_y, high_y = y_ticks[0], max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> Point:
        across = (warp(x) - low_x) / ((high_x - low_x) or 1.0)
        up = (y - low_y) / ((high_y - low_y) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    pieces = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    pieces += _grid(x_ticks, y_ticks, (min(xs), low_y), place, axes)
    for index, points in enumerate(lines.values()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in shape(points))
        pieces.append(f'<polyline class="line c{index % STYLES}{" filled" if filled else ""}" points="{path}"/>')
    pieces.append("</svg>")
    swatch = '<svg class="key" viewBox="0 0 28 6" aria-hidden="true"><path class="line c{}" d="M0 3H28"/></svg>'
    legend = "".join(f"<li>{swatch.format(index % STYLES)}{escape(name)}</li>" for index, name in enumerate(lines))
    return Markup("".join(pieces) + f'<ul class="legend">{legend}</ul>')


def _grid(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    origin: Point,
    place: Callable[[float, float], Point],
    axes: Axes,
) -> list[str]:
    pieces = []
    for value in y_ticks:
        _, y = place(origin[0], value)
        shown = f"{100 * value:g} %" if axes.percent else f"{value:g}"
        pieces.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        pieces.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    for value in x_ticks:
        x, _ = place(value, origin[1])
        pieces.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    pieces.append(f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axes.x)}</text>')
    turned = f'transform="translate(12 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle"'
    pieces.append(f'<text class="axis" {turned}>{escape(axes.y)}</text>')
    return pieces


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from the last at or below `low` to the last at or below `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 ... between `low` and `high`."""
    steps = [factor * 10.0**power for power in range(-6, 10) for factor in (1, 2, 5)]
    return [value for value in steps if low <= value <= high]
