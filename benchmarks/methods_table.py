"""Write what the sweep over methods measured into docs/methods.md, between its marks.

python benchmarks/demo_seeds.py --with presets/sweeps/methods.yaml --against coupled --json benchmarks/results/methods.json
python benchmarks/methods_table.py
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.evaluate.baselines import BASELINES
from pipeline.methods import methods
from pipeline.report.table import UNTRAINED, called

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/methods.json"
MARKS = ("<!-- measured: benchmarks/results/methods.json -->\n", "\n<!-- end -->")
PAGE = ROOT / "docs/methods.md"
TASK = "audio_image"
# Frozen spaces, by the task that measures what is left of them.
FROZEN = {"image_text": "image-text", "audio_text": "audio-text"}
# What a connection without sounds is measured by.
BESIDE = ("point_image",)


def markdown(found: dict[str, Any]) -> str:
    """The table: a row for each connection and each row that trains nothing, the best last.

    Args:
        found: What `benchmarks/demo_seeds.py` wrote.
    """
    rows = pd.DataFrame(found["rows"])
    rows = rows[~rows.method.str.endswith("_hubs")]
    rows["value"] *= 100
    numbers = rows.groupby(["task", "connection", "method", "metric"]).value.agg(["mean", "std"])
    paired = pd.DataFrame(found["paired"])
    free = best_free(found)
    behind = paired[(paired.against == free) & (paired.metric == "R@10")].set_index(["connection", "method"])
    columns = ["R@1", "R@10", f"R@10 less the {UNTRAINED[free.split()[1]][0].lower()}"]
    columns += [f"{said} R@1, share kept" for said in FROZEN.values()] + ["mixed gallery"]
    columns += ["audio-text, text by all towers", "3D-image R@1", "audio-3D mAP"]
    lines = [f"| audio-image, per cent | {' | '.join([*columns, 'CPU s'])} |", "|---" * (len(columns) + 2) + "|"]
    named = dict.fromkeys(key[1:3] for key in numbers.index if key[0] in (TASK, *BESIDE) and key[2] != "frozen")
    reached = numbers["mean"].to_dict()
    order = sorted(named, key=lambda each: reached.get((TASK, *each, "R@10"), -1.0))
    lines += [_line(numbers, each, behind, found) for each in order if not each[1].endswith("_towers")]
    return "\n".join(lines) + "\n\n" + _below(found, numbers)


def best_free(found: dict[str, Any]) -> str:
    """Connection and method of the best row that trains nothing: differences are to it, beside those to a connection."""
    against = dict.fromkeys(row["against"] for row in found["paired"])
    return next(each for each in against if each.partition(" ")[2] in UNTRAINED)


def _line(numbers: pd.DataFrame, each: tuple[str, str], behind: pd.DataFrame, found: dict[str, Any]) -> str:
    connection, method = each
    # A baseline bears the name of the connection whose data it used, and may bear that of a method.
    others = {key[2] for key in numbers.index if key[1] == connection} - {method, f"{method}_towers"}
    is_connection = method in methods() and not (method in BASELINES and others - set(BASELINES))

    def number(task: str, metric: str, how: str = method) -> str:
        if (place := (task, connection, how, metric)) not in numbers.index:
            return "-"
        spread = f" ± {numbers.loc[place, 'std']:.1f}" if len(found["seeds"]) > 1 else ""
        return f"{numbers.loc[place, 'mean']:.1f}{spread}"

    label = f"{called(method)[0]} (`{connection}`)" if is_connection else UNTRAINED[method][0]
    cells = [label, number(TASK, "R@1"), number(TASK, "R@10")]
    row = behind.loc[each] if each in behind.index else {"difference": 0, "from": 0, "to": 0}
    same = row["difference"] == row["from"] == row["to"] == 0
    cells.append("-" if same else f"{row['difference']:+.1f} ({row['from']:.1f} to {row['to']:.1f})")
    for task in FROZEN:
        frozen = numbers.loc[task].xs(("frozen", "R@1"), level=("method", "metric"))["mean"].iloc[0]
        place = (task, connection, method, "R@1")
        kept = numbers.loc[place, "mean"] if is_connection and place in numbers.index else None
        cells.append("-" if kept is None else f"{kept:.1f}, {100 * kept / frozen:.0f} %")
    mixed = [seed[connection]["found"] for seed in found["mixed"].values() if is_connection and connection in seed]
    cells.append(f"{100 * sum(mixed) / len(mixed):.0f}" if mixed else "-")
    cells += [
        number("audio_text", "R@1", f"{method}_towers") if is_connection else "-",
        number("point_image", "R@1") if is_connection else "-",
        number("audio_point", "class_mAP") if is_connection else "-",
    ]
    costs = [sum(seed[connection].values()) for seed in found["cpu_seconds"].values() if is_connection]
    cells.append(f"{sum(costs) / len(costs):.0f}" if costs else "-")
    return f"| {' | '.join(cells)} |"


def _below(found: dict[str, Any], numbers: pd.DataFrame) -> str:
    kept = ", ".join(
        f"{said} {numbers.loc[task].xs(('frozen', 'R@1'), level=('method', 'metric'))['mean'].iloc[0]:.1f}"
        for task, said in FROZEN.items()
    )
    seeds = [str(seed) for seed in found["seeds"]]
    said = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
    return (
        f"{'Mean and standard deviation over' if len(seeds) > 1 else 'One world,'} {said} of the demo's, gallery of 800; differences are paired by "
        f"item, with 95 % intervals. Kept: R@1 by the frozen space's own towers beside that of the frozen space ({kept}). Mixed gallery: sounds that have their "
        "picture among the first ten of 800 pictures and 799 sounds, queries masked. CPU seconds are those of pairs and training together, on a "
        f"machine with a load of {found['load']:.0f} on two cores."
    )


def with_table(page: str, table: str) -> str:
    """`page` with `table` between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise ValueError(f"the page has not both marks: {MARKS}")
    return f"{before}{MARKS[0]}{table}{MARKS[1]}{after}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_table(PAGE.read_text(), markdown(json.loads(RESULTS.read_text()))))


if __name__ == "__main__":
    main()
