"""The sweep as one page that needs nothing beside it: a table, and a plot of every seed."""

from html import escape

import pandas as pd

from pipeline.inert import content_policy, inert_lines
from pipeline.sweep.variants import UNCHANGED

_STYLE = """
:root{color-scheme:light dark} body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
.wide{overflow-x:auto} table{border-collapse:collapse;width:100%} th,td{padding:.3rem .6rem;text-align:right;
border-bottom:1px solid #8884} th:first-child,td:first-child,th:last-child,td:last-child{text-align:left}
svg{width:100%;height:auto;font:13px system-ui,sans-serif} svg text{fill:currentColor} .axis{stroke:#8888}
.seed{fill:#3b7dd8} .mean{stroke:currentColor;stroke-width:2}
"""
_WIDTH, _LINE, _LEFT = 720, 26, 260


def sweep_page(title: str, values: pd.DataFrame, summary: pd.DataFrame) -> str:
    """HTML of `summary` and of the single `values` behind it."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(_STYLE)}">'
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>",
        "<p>Each row is trained again with one thing changed, on the same pseudo-pairs, once for each seed. The difference "
        "is taken seed by seed; it counts only if all seeds agree on its sign.</p>",
    ]
    for connection, lines in summary.groupby("connection", sort=False):
        chosen = values[values.connection == connection]
        first = lines.iloc[0]
        parts.append(f"<h2>{escape(str(connection))}: {escape(first.metric)} of {escape(first.task)}</h2>")
        parts.append(_plot(chosen, list(lines.row)) + _table(lines))
    return inert_lines("".join(parts)) + "</html>\n"


def _table(lines: pd.DataFrame) -> str:
    rows = "".join(
        f"<tr><td>{escape(line.row)}<td>{shown(line['mean'], line.deviation)}"
        f"<td>{'' if line.row == UNCHANGED else shown(line.difference, line.difference_deviation, '+')}"
        f"<td>{escape(line.verdict)}"
        for _, line in lines.iterrows()
    )
    return f"<div class=wide><table><tr><th>changed<th>value<th>difference<th>{rows}</table></div>"


def shown(mean: float, deviation: float, sign: str = "") -> str:
    """Mean and standard deviation in per cent; the deviation is left out where there is one seed."""
    spread = f" ± {100 * deviation:.1f}" if deviation == deviation else ""
    return f"{100 * mean:{sign}.1f}{spread}"


def _plot(values: pd.DataFrame, rows: list[str]) -> str:
    low, high = values.value.min(), values.value.max()
    margin = 0.05 * (high - low) or 0.01
    low, high = low - margin, high + margin

    def across(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 20) * (value - low) / (high - low)

    height = _LINE * (len(rows) + 1)
    drawn = [f"<svg viewBox='0 0 {_WIDTH} {height}' role=img aria-label='Value of every row and seed'>"]
    for number, row in enumerate(rows):
        middle = _LINE * (number + 0.5)
        found = values[values.row == row].value
        drawn.append(f"<text x='{_LEFT - 12}' y='{middle + 4:.0f}' text-anchor=end>{escape(row)}</text>")
        drawn.append(f"<line class=axis x1={_LEFT} x2={_WIDTH - 20} y1='{middle:.1f}' y2='{middle:.1f}' />")
        drawn += [f"<circle class=seed cx='{across(value):.1f}' cy='{middle:.1f}' r=4 />" for value in found]
        at = f"{across(found.mean()):.1f}"
        drawn.append(f"<line class=mean x1='{at}' x2='{at}' y1='{middle - 8:.1f}' y2='{middle + 8:.1f}' />")
    for value in (low + margin, high - margin):
        drawn.append(f"<text x='{across(value):.0f}' y='{height - 6}' text-anchor=middle>{100 * value:.1f}</text>")
    return "".join(drawn) + "</svg>"
