"""How much a training slows down beside other work, with threads that spin as libgomp has it and as `mcr` has it.

    python benchmarks/busy.py                        five turns, about four minutes on two cores
    python benchmarks/busy.py --steps 50 --repeats 3 --json result.json

A turn trains the demo's size in four fresh processes: either way of waiting, alone and beside one busy loop for each core.
Turns are repeated, so that a disturbed machine disturbs all four; figures are medians. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also runs on a machine where the package is not installed

WAYS = {"libgomp's default": {}, "as mcr sets it": {"GOMP_SPINCOUNT": "1000"}}
SET_BY_USERS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(train(options.steps))
        return
    result = {"steps": options.steps, "cores": os.cpu_count(), "ways": measure(options.steps, options.repeats)}
    print(f"{'':20}{'alone s':>9}{'busy s':>9}{'busy / alone':>14}")
    for name, way in result["ways"].items():
        print(f"{name:20}{way['alone']:9.2f}{way['busy']:9.2f}{way['busy'] / way['alone']:14.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(steps: int, repeats: int) -> dict[str, dict[str, object]]:
    """By way: median seconds alone and beside busy loops, and all samples."""
    samples: dict[str, dict[str, list[float]]] = {name: {"alone": [], "busy": []} for name in WAYS}
    for _ in range(repeats):
        for name, variables in WAYS.items():
            samples[name]["alone"].append(child(steps, variables))
        with busy_loops():
            for name, variables in WAYS.items():
                samples[name]["busy"].append(child(steps, variables))
    return {
        name: {kind: statistics.median(found) for kind, found in kinds.items()} | {"samples": kinds}
        for name, kinds in samples.items()
    }


def child(steps: int, variables: dict[str, str]) -> float:
    """Seconds of `steps` steps in a fresh process, whose OpenMP reads `variables`."""
    kept = {name: value for name, value in os.environ.items() if name not in SET_BY_USERS}
    command = [sys.executable, __file__, "--child", "--steps", str(steps)]
    return float(subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=True).stdout)


def train(steps: int) -> float:
    """Seconds of `steps` steps at the demo's size, after some that do not count."""
    import torch

    from benchmarks.train import QUICK, our_step, random_tables

    batch, width, hidden = QUICK
    torch.set_num_threads(os.cpu_count() or 1)
    step = our_step(random_tables(batch * 4, width, "cpu"), batch, width, hidden, "cpu")
    for _ in range(10):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


@contextmanager
def busy_loops() -> Iterator[None]:
    """One for each core, as long as the block runs."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
