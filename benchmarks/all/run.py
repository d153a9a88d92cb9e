"""Run the benchmarks of this machine, print one table, keep it with machine and commit: `make bench`.

    python -m benchmarks.all.run                     writes benchmarks/results/bench.json, some minutes on two idle cores
    python -m benchmarks.all.run --only store train  some of them

Each runs in a process of its own, one after the other: what is measured must have the machine to itself. One that fails is
named at the end, and the others are kept.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.all import rows as rows_of

ROOT = Path(__file__).parents[2]
TABLE = ("<!-- measured: benchmarks/results/bench.json -->\n", "\n<!-- end -->")
PARTS = {
    "aggregate": (["benchmarks.aggregate", "--repeats", "2"], rows_of.of_aggregate),
    "store": (["benchmarks.store", "--rows", "100000", "--repeats", "3"], rows_of.of_store),
    "whole store": (["benchmarks.whole_store", "--repeats", "3"], rows_of.of_whole_store),
    "train": (["benchmarks.train", "--repeats", "3"], rows_of.of_train),
    "loader": (["benchmarks.all.loader"], rows_of.of_loader),
    "encode": (["benchmarks.encode", "--repeats", "2"], rows_of.of_encode),
    "input": (["benchmarks.input_path", "--samples", "2048", "--repeats", "2"], rows_of.of_input),
    "audio": (["benchmarks.all.audio"], rows_of.of_audio),
    "recall": (["benchmarks.all.recall"], rows_of.of_recall),
    "nothing": (["benchmarks.all.nothing_to_do"], rows_of.of_nothing),
    "growth": (["benchmarks.all.growth"], rows_of.of_growth),
    "memory": (["benchmarks.all.memory"], rows_of.of_memory),
}
SECONDS = 240  # for each


def main() -> None:
    """Measure, print the table, write both files; the exit status is 1 if one of the benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/bench.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md", help="whose table is replaced")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="whose shorter table is replaced")
    given = parser.parse_args()
    found: list[rows_of.Row] = []
    failed = []
    load = os.getloadavg()[0]
    for name in given.only:
        start = time.monotonic()
        try:
            found += measured(name)
        except (subprocess.SubprocessError, OSError, ValueError, KeyError, StopIteration) as error:
            failed.append(f"{name} failed: {getattr(error, 'stderr', None) or error}")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    table = rows_of.markdown(found)
    about = machine() | {"load_before": load}
    result = {"machine": about, "failed": failed, "rows": [asdict(row) | {"ratio": row.ratio} for row in found]}
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    whole = f"{said(about)} Load before: {load:.1f}.\n\n{table}"
    pages = {given.page: whole, given.readme: f"{said(about)}\n\n{rows_of.markdown(rows_of.main_rows(found))}"}
    for page, content in pages.items():
        if page.is_file():
            page.write_text(with_table(page.read_text(), content))
    print(whole, *failed, sep="\n")
    sys.exit(bool(failed))


def measured(name: str) -> list[rows_of.Row]:
    """The rows of one benchmark."""
    command, read = PARTS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        run = [sys.executable, "-m", *command, "--json", str(path)]
        subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS)
        return read(json.loads(path.read_text()))


def with_table(page: str, table: str) -> str:
    """`page` with `table` between its two marks."""
    before, _, rest = page.partition(TABLE[0])
    _, _, after = rest.partition(TABLE[1])
    return f"{before}{TABLE[0]}{table}{TABLE[1]}{after}"


def said(about: dict[str, object]) -> str:
    """The machine in a sentence."""
    return f"{about['processor']}, {about['cores']} cores, torch {about['torch']}, commit {str(about['commit'])[:7]}."


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    from importlib.metadata import version

    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(named, platform.machine()),
        "cores": os.cpu_count(),
        "torch": version("torch"),
        "python": platform.python_version(),
        "commit": git.stdout.strip() or "unknown",
    }


if __name__ == "__main__":
    main()
