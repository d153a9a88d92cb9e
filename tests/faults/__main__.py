"""`python -m tests.faults`: run the rows, keep the counts, print the table.

Trials that are done are not made again while the seed and the code stay the same, so that a run that was cut off goes on.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

from tests.faults import shim
from tests.faults.lab import Lab, load_everything
from tests.faults.row import Row, Trial
from tests.faults.rows.peers import peers
from tests.faults.table import RESULTS, table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/promises.md"
ROWS = (
    "writes",
    "reads",
    "exits",
    "kills",
    "signals",
    "mutants",
    "stage_mutants",
    "swaps",
    "injection",
    "racing",
    "power",
    "hostile",
    "environment",
)
# Rows one file each: put a file into rows/ and its name here.


def main() -> None:
    """Parse the command line, and run what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("what", choices=["quick", "full", "table"])
    parser.add_argument("--row", action="append", choices=ROWS, help="only these rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--broken", action="store_true", help="with the deliberate mistake of each row")
    parser.add_argument("--until-red", action="store_true", help="stop a row at its first problem")
    parser.add_argument("--folder", type=Path, help="where to work, and to go on")
    parser.add_argument("--results", type=Path, help="where the counts go")
    parser.add_argument("--lanes", type=int, default=min(os.cpu_count() or 1, 4))
    chosen = parser.parse_args()
    if chosen.what == "table":
        print_into_docs(table(json.loads((chosen.results or RESULTS).read_text())))
        return
    shim.preload()
    load_everything()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = {name: import_module(f"tests.faults.rows.{name}").ROW for name in chosen.row or ROWS}
        lab = Lab(folder / "lab")
        lab.prepare()
        counts = {name: run_row(name, row, lab, chosen) for name, row in rows.items()}
        if chosen.results:
            keep(counts, chosen, folder)
    sys.exit(any(count["problems"] for count in counts.values()))


def print_into_docs(printed: str) -> None:
    """Print the table, and put it into the docs in the place of the one before."""
    print(printed)
    before, heading, _ = DOCS.read_text().partition("## Counts\n")
    DOCS.write_text(f"{before}{heading}\n{printed}\n")


def run_row(name: str, row: Row, lab: Lab, chosen: argparse.Namespace) -> dict[str, object]:
    """Make the trials of a row in several lanes; what was tried, and what went wrong."""
    began, spent = time.monotonic(), os.times()
    quick = chosen.what == "quick"
    trials = list(row.trials(lab, random.Random(f"{chosen.seed} {name}"), quick))
    journal = lab.folder.parent / f"{name}-{chosen.what}-{chosen.seed}-{code()}{'-broken' * chosen.broken}.jsonl"
    done = read_journal(journal)
    waiting = [trial for trial in trials if trial.name not in done]
    lanes = [
        start_lane(
            lab.lane(number, row.broken if chosen.broken else None),
            waiting[number :: chosen.lanes],
            journal,
            chosen.until_red,
        )
        for number in range(chosen.lanes)
    ]
    failed = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in lanes]
    if any(failed):
        sys.exit(f"error: a lane of {name} ended with {failed}.")
    done = read_journal(journal)
    problems = {trial: found for trial, found in done.items() if found}
    measures = Counter(problem.partition(":")[0] for found in problems.values() for problem in found)
    seconds, processors = time.monotonic() - began, sum(os.times()[:4]) - sum(spent[:4])
    print(
        f"{name}: {len(done)} trials in {seconds:.0f} s ({processors:.0f} s of processors), "
        f"{len(problems)} with problems {dict(measures)}"
    )
    for trial, found in list(problems.items())[:5]:
        print(f"  {trial}: {'; '.join(found)[:600]}", flush=True)
    return {
        "row": row.name,
        "trials": len(done),
        "problems": len(problems),
        "measures": {measure: measures.get(measure, 0) for measure in row.measures},
        "examples": dict(list(problems.items())[:3]),
        "seconds": round(seconds),
    }


def start_lane(lab: Lab, trials: list[Trial], journal: Path, until_red: bool) -> int:
    """A process that makes `trials` one after the other."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        for trial in trials:
            found = trial.run(lab)
            with open(journal, "a") as file:
                file.write(json.dumps({"trial": trial.name, "problems": found}) + "\n")
            if found and until_red:
                break
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def read_journal(path: Path) -> dict[str, list[str]]:
    """Problems by trial, of those that are done."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {entry["trial"]: entry["problems"] for entry in map(json.loads, lines)}


@cache
def code() -> str:
    """A name for the code that is tried: the commit, and a hash of what was changed in it since."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    changed = subprocess.run(
        ["git", "diff", "HEAD", "--", "pipeline", "stages", "tests"], cwd=ROOT, capture_output=True
    ).stdout
    return commit.strip() + (f"-{hashlib.sha256(changed).hexdigest()[:8]}" if changed else "")


def keep(counts: dict[str, dict[str, object]], chosen: argparse.Namespace, folder: Path) -> None:
    """Write what the table is printed from; rows that were run another time stay, each with the code that it tried."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    run = {"what": chosen.what, "seed": chosen.seed, "code": code(), "machine": machine}
    known = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    found = {**known.get("rows", {}), **{name: {**count, **run} for name, count in counts.items()}}
    rows = {name: found[name] for name in ROWS if name in found}
    others = peers(chosen.seed, 1000 if chosen.what == "full" else 100, folder)
    chosen.results.write_text(json.dumps({"rows": rows, "peers": others}, indent=1) + "\n")


if __name__ == "__main__":
    main()
