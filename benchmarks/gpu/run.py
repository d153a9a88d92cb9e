"""Install from `.wheels/`, run every step in a process of its own under its own limit, and print one table.

A step that fails or takes too long is a red row, and the next one is run. See docs/gpu.md.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
SITE = ROOT / ".gpu"  # where the wheels are installed: base, and CLAP's older libraries in a folder that goes before it
BUDGET, LINES = 540, 60  # seconds for all steps, lines of the table
VERSIONS = ("torch", "numpy", "transformers", "triton", "open_clip_torch", "pandas", "pyarrow")


@dataclass(frozen=True)
class Task:
    """One step.

    Attributes:
        name: What it is called in the table.
        module: The module below `benchmarks.gpu` that does it.
        limit: Seconds that it may take.
        clap: Whether CLAP's libraries come before those of the host.
    """

    name: str
    module: str
    limit: int
    clap: bool = False


# Checks first: where time is short, it is the benchmarks that are not run.
TASKS = (
    Task("ceilings", "speed.ceilings", 30),
    Task("definitions", "definitions", 40),
    Task("training", "training", 40),
    Task("synchronisation", "synchronisation", 30),
    Task("spaces", "spaces", 60),
    Task("CLAP", "clap", 60, clap=True),
    Task("GPU tests", "tests_of_gpu", 60),
    Task("CPU tests", "tests_of_cpu", 90),
    Task("demo", "demo", 90),
    Task("aggregation speed", "speed.aggregation", 85),
    Task("training speed", "speed.training", 40),
    Task("compiled training", "compiled", 150),
    Task("encoding speed", "speed.encoding", 110),
    Task("coupling at scale", "speed.scale", 90),
)
LATE = "no time was left"
# A rehearsal is short on an idle machine; a busy one is no reason for red rows. No step measures anything worth knowing
# there, so that two run side by side.
PATIENCE, SIDE_BY_SIDE = 4, 2


def main() -> None:
    """Run all, print the table, write the JSON; exit 1 if a check is red."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal")
    parser.add_argument("--only", nargs="+", choices=[task.module for task in TASKS], metavar="STEP",
                        help="some of the steps, in this order; the rows of the others stay as they are in the card's table")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=BUDGET, help="for all steps together")
    given = parser.parse_args()
    started = time.monotonic()
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir()
    rows = install()
    sys.path.append(str(SITE / "base"))  # for what this process asks of torch; the host's own come first
    by_module = {task.module: task for task in TASKS}
    chosen = [by_module[module] for module in given.only or by_module]
    deadline = started + given.seconds * (PATIENCE if given.small else 1)
    with ThreadPoolExecutor(SIDE_BY_SIDE if given.small else 1) as pool:
        for found in pool.map(lambda task: run(task, given, deadline), chosen):
            rows += found
    about = machine(given) | {"seconds": round(time.monotonic() - started)}
    path = write(about, rows, merge=given.only is not None)
    show(about, rows, path)
    sys.exit(any(row["verdict"] == "RED" for row in rows))


def install() -> list[dict[str, str]]:
    """Unpack the wheels for this Python, without the network and without touching what is installed."""
    wheels = ROOT / ".wheels" / f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("base", "clap"):
        found = sorted(map(str, (wheels / name).glob("*.whl")))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
                   "--no-deps", "--no-compile", "--target", str(SITE / name), *found]  # fmt: skip
        if not found:
            return [red("install", f"{wheels.relative_to(ROOT)}/{name} has no wheels: run `make gpu-wheels`")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return [red("install", last_line(done.stderr))]
    return []


def run(task: Task, given: argparse.Namespace, deadline: float) -> list[dict[str, str]]:
    """The rows of one step, and one more if it did not end well."""
    limit = min(deadline - time.monotonic(), task.limit * (PATIENCE if given.small else 1))
    if limit < 5:
        return [{"check": task.name, "figure": LATE, "limit": "", "verdict": "skipped", "step": task.name}]
    rows, log = SITE / f"{task.module}.jsonl", SITE / f"{task.module}.log"
    folders = [ROOT, *([SITE / "clap"] if task.clap else []), SITE / "base"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-m", f"benchmarks.gpu.{task.module}", "--device", given.device, "--rows", str(rows)]
    started, end = time.monotonic(), ""
    with open(log, "w") as file:
        process = subprocess.Popen([*command, *(["--small"] if given.small else [])], cwd=ROOT, env=environment,
                                   stdout=file, stderr=file, start_new_session=True)  # fmt: skip
        try:
            if process.wait(limit):
                end = last_line(log.read_text()) or f"ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            end = f"stopped after {limit:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    if end:
        found.append(red(task.name, end))
        print(log.read_text()[-3000:], file=sys.stderr)
    print(f"{time.monotonic() - started:5.0f} s  {task.name}", flush=True)
    return [row | {"step": task.name, "step_seconds": f"{time.monotonic() - started:.1f}"} for row in found]


def red(check: str, figure: str) -> dict[str, str]:
    """A row for what should not have happened."""
    return {"check": check, "figure": figure, "limit": "", "verdict": "RED"}


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""


def machine(given: argparse.Namespace) -> dict[str, object]:
    """What the figures were measured on."""
    import torch

    cuda = given.device == "cuda" and torch.cuda.is_available()
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                            capture_output=True, text=True, check=False).stdout if cuda else ""  # fmt: skip
    return {
        "card": torch.cuda.get_device_name() if cuda else f"cpu, {os.cpu_count()} cores",
        "driver": driver.strip(),
        "cuda": torch.version.cuda if cuda else "",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in VERSIONS if (found := installed(name))},
        "commit": commit(),
        "device": given.device,
        "small": given.small,
    }


def commit() -> str:
    """What `COMMIT` says, since a copy of the repository may carry a git that is older than its files; else what git says."""
    if given := os.environ.get("COMMIT"):
        return given
    git = shutil.which("git")
    command = [git, "rev-parse", "HEAD"] if git else []
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout if git else ""
    return said.strip() or "unknown"


def installed(name: str) -> str:
    """Version of a package of the host or of the wheels; empty where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        found = next((SITE / "base").glob(f"{name}-*.dist-info"), None)
        return found.name.split("-")[1].removesuffix(".dist") if found else ""


def write(about: dict[str, object], rows: list[dict[str, str]], merge: bool = False) -> Path:
    """Write the JSON; its name says which card. With `merge` it keeps the rows of steps that were not run this time.

    Each row says of which commit it is.
    """
    folder = Path(os.environ.get("OUT") or RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    card = re.sub(r"[^a-z0-9]+", "-", str(about["card"]).lower().split(",")[0].removeprefix("nvidia ")).strip("-")
    path = folder / f"{card}{'-small' if about['small'] else ''}.json"
    rows = [row | {"commit": str(about["commit"])} for row in rows]
    known = next((place for place in (path, RESULTS / path.name) if place.is_file()), None)
    if merge and known:
        rows = merged(json.loads(known.read_text()), rows)
    path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    return path


def merged(before: dict[str, Any], rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of this run, and of the table `before` those of all other steps, in the order of the steps."""
    done = {row.get("step", "") for row in rows if row["figure"] != LATE}
    commit = str(before["machine"]["commit"])
    kept = [{"commit": commit} | row for row in before["rows"] if row.get("step", "") not in done]
    left = {row.get("step", "") for row in kept}
    rows = [row for row in rows if row["figure"] != LATE or row.get("step", "") not in left]
    order = [task.name for task in TASKS]
    place = lambda row: order.index(row["step"]) if row.get("step") in order else -1  # noqa: E731
    return sorted([*kept, *rows], key=place)


def show(about: dict[str, object], rows: list[dict[str, str]], path: Path) -> None:
    """Print the table; red rows first where it would be too long."""
    print(
        f"\n{about['card']}, torch {about['versions'].get('torch')}, {about['seconds']} s, commit {str(about['commit'])[:10]}"
    )
    room = LINES - 4
    shown = rows if len(rows) <= room else sorted(rows, key=lambda row: row["verdict"] != "RED")[:room]
    print(f"{'check':58} {'figure':>24} {'limit':>10}  verdict")
    for row in shown:
        figure = row["figure"] if len(row["figure"]) <= 60 else row["figure"][:57] + "..."
        print(f"{row['check'][:58]:58} {figure:>24} {row['limit']:>10}  {row['verdict']}")
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("ok", "RED", "skipped")}
    left = f"; {len(rows) - len(shown)} more in the file" if len(shown) < len(rows) else ""
    print(f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}{left}; {path}")


if __name__ == "__main__":
    main()
