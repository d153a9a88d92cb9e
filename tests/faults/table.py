"""The counts as tables, for README and docs."""

from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks/results/faults.json"


def table(results: dict[str, Any]) -> str:
    """Markdown: one line for each row, under it where the counts are from, and what others do with the same damage."""
    lines = ["Each row names its seed and the commit that was tried.", ""]
    lines += ["| fault | trials | counted, and expected to be 0 | seconds | run |", "|---|---:|---|---:|---|"]
    for row in results["rows"].values():
        counted = ", ".join(f"{measure} {count}" for measure, count in row["measures"].items())
        run = f"{row['what']}, seed {row['seed']}, {row['code']}"
        lines.append(f"| {row['row']} | {row['trials']:,} | {counted} | {row['seconds']} | {run} |")
    machines = sorted({row["machine"] for row in results["rows"].values()})
    lines += [
        "",
        f"`make faults` on {'; '.join(machines)}. Readers of other libraries, given files damaged in the same ways:",
        "",
    ]
    lines += ["| reader | files | error | same content | other content, no error |", "|---|---:|---:|---:|---:|"]
    for name, counts in results["peers"].items():
        trials = sum(counts.values())
        lines.append(f"| {name} | {trials:,} | {counts['error']:,} | {counts['same']:,} | {counts['silent']:,} |")
    return "\n".join(lines)
