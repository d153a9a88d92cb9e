"""The counts as a table, for README and docs."""

from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks/results/faults.json"


def table(results: dict[str, Any]) -> str:
    """Markdown: one line for each row, and under it where the counts are from."""
    lines = ["| fault | trials | counted, and expected to be 0 | seconds |", "|---|---:|---|---:|"]
    for row in results["rows"].values():
        counted = ", ".join(f"{measure} {count}" for measure, count in row["measures"].items())
        lines.append(f"| {row['row']} | {row['trials']:,} | {counted} | {row['seconds']} |")
    lines += [
        "",
        f"`make faults`, {results['what']}, seed {results['seed']}, code {results['code']}, {results['machine']}.",
    ]
    return "\n".join(lines)
