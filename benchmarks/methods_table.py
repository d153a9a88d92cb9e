"""Write what the sweep over methods measured into docs/methods.md and README.md, between their marks.

python benchmarks/demo_seeds.py --with presets/sweeps/methods.yaml --against coupled --json benchmarks/results/methods.json
python benchmarks/methods_table.py
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.methods import methods
from pipeline.report.table import called

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/methods.json"
MARKS = ("<!-- measured: benchmarks/results/methods.json -->\n", "\n<!-- end -->")
PAGES = {"docs/methods.md": True, "README.md": False}
TASK = "audio_image"
# Frozen spaces, by the task that measures what is left of them.
FROZEN = {"image_text": "image-text", "audio_text": "audio-text"}


def markdown(found: dict[str, Any], whole: bool) -> str:
    """The table: a row for each connection and each row that trains nothing, the best last.

    Args:
        found: What `benchmarks/demo_seeds.py` wrote.
        whole: With what only some spaces have (3D), and by which towers; else the short form.
    """
    rows = pd.DataFrame(found["rows"])
    rows = rows[~rows.method.str.endswith("_hubs")]
    rows["value"] *= 100
    numbers = rows.groupby(["task", "connection", "method", "metric"]).value.agg(["mean", "std"])
    paired = pd.DataFrame(found["paired"])
    free = best_free(found)
    behind = paired[(paired.against == free) & (paired.metric == "R@10")].set_index(["connection", "method"])
    columns = ["R@1", "R@10", f"R@10 less {called(free.split()[1])[0]}"]
    columns += [f"{said} R@1, share kept" for said in FROZEN.values()] + ["mixed gallery"]
    columns += ["audio-text, text by all towers", "3D-image R@1", "audio-3D mAP"] if whole else []
    lines = [f"| audio-image, per cent | {' | '.join([*columns, 'CPU s'])} |", "|---" * (len(columns) + 2) + "|"]
    named = numbers.loc[TASK].index.droplevel("metric").unique()
    order = sorted(named, key=lambda each: numbers.loc[(TASK, *each, "R@10"), "mean"])
    lines += [_line(numbers, each, behind, found, whole) for each in order if not each[1].endswith("_towers")]
    return "\n".join(lines) + "\n\n" + _below(found, numbers, free)


def best_free(found: dict[str, Any]) -> str:
    """Connection and method of the best row that trains nothing: the one that differences are to, beside a trained one."""
    trained = {name for name, method in methods().items() if method.objective}
    return next(
        row["against"] for row in found["paired"] if " " in row["against"] and row["against"].split()[1] not in trained
    )


def _line(
    numbers: pd.DataFrame, each: tuple[str, str], behind: pd.DataFrame, found: dict[str, Any], whole: bool
) -> str:
    connection, method = each
    record = methods().get(method)
    is_connection = record is not None and connection in next(iter(found["cpu_seconds"].values()))

    def number(task: str, metric: str, how: str = method) -> str:
        place = (task, connection, how, metric)
        return f"{numbers.loc[place, 'mean']:.1f} ± {numbers.loc[place, 'std']:.1f}" if place in numbers.index else "-"

    cells = [
        f"{called(method)[0]}" + (f" (`{connection}`)" if is_connection else ""),
        number(TASK, "R@1"),
        number(TASK, "R@10"),
    ]
    row = behind.loc[each]
    cells.append(
        "-"
        if row["difference"] == row["from"] == row["to"] == 0
        else f"{row['difference']:+.1f} ({row['from']:.1f} to {row['to']:.1f})"
    )
    for task in FROZEN:
        frozen = numbers.loc[task].xs(("frozen", "R@1"), level=("method", "metric"))["mean"].iloc[0]
        place = (task, connection, method, "R@1")
        kept = numbers.loc[place, "mean"] if is_connection and place in numbers.index else None
        cells.append("-" if kept is None else f"{kept:.1f}, {100 * kept / frozen:.0f} %")
    mixed = [seed[connection]["found"] for seed in found["mixed"].values() if is_connection and connection in seed]
    cells.append(f"{100 * sum(mixed) / len(mixed):.0f}" if mixed else "-")
    if whole:
        cells += [
            number("audio_text", "R@1", f"{method}_towers") if is_connection else "-",
            number("point_image", "R@1") if is_connection else "-",
            number("audio_point", "class_mAP") if is_connection else "-",
        ]
    costs = [sum(seed[connection].values()) for seed in found["cpu_seconds"].values() if is_connection]
    cells.append(f"{sum(costs) / len(costs):.0f}" if costs else "-")
    return f"| {' | '.join(cells)} |"


def _below(found: dict[str, Any], numbers: pd.DataFrame, free: str) -> str:
    kept = ", ".join(
        f"{said} {numbers.loc[task].xs(('frozen', 'R@1'), level=('method', 'metric'))['mean'].iloc[0]:.1f}"
        for task, said in FROZEN.items()
    )
    seeds = [str(seed) for seed in found["seeds"]]
    said = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
    return (
        f"Mean and standard deviation over {said} of the demo's world, gallery of 800; differences are paired by item over all seeds, with 95 % "
        f"intervals. Kept: R@1 by the frozen space's own towers beside that of the frozen space ({kept}). Mixed gallery: sounds that have their "
        "picture among the first ten of 800 pictures and 799 sounds, queries masked. CPU seconds are those of pairs and training together, on a "
        f"machine with a load of {found['load']:.0f} on two cores."
    )


def with_table(page: str, table: str) -> str:
    """`page` with `table` between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}{table}{MARKS[1]}{after}"


def main() -> None:
    """Write both pages."""
    found = json.loads(RESULTS.read_text())
    for name, whole in PAGES.items():
        path = ROOT / name
        path.write_text(with_table(path.read_text(), markdown(found, whole)))


if __name__ == "__main__":
    main()
