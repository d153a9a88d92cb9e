"""Run the whole demo for several seeds and print what it measures, with the spread over the seeds.

The world and the settings were tuned on seed 0; the other seeds are the evidence. Every run is a copy of the project of
its own, from the raw files to the metrics; the time of each stage is that of the first one.

    python benchmarks/demo_seeds.py --seeds 1 2 3 --json benchmarks/results/demo.json

With `--with presets/sweeps/methods.yaml` further connections are run and measured on the same worlds, and with
`--against coupled` each is held against that one: differences paired by item, over all seeds together. Pairs and projectors of every
connection are then made by the commands of the project in one process, so that the CPU seconds of each are its own; a seed whose
folder is there (`--keep`) is continued.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.all.methods import connected, mixed, paired
from tests.makers.project import Project


def extended(params: dict[str, Any], addition: dict[str, Any]) -> dict[str, Any]:
    """`params` with the jobs, connections and weights of `addition`, and by task what it measures as well."""
    addition = json.loads(json.dumps(addition))  # What anchors share is written out.
    params["encode"] |= addition.get("encode", {})
    params["connections"] |= addition.get("connections", {})
    for name, keep in addition.get("keep", {}).items():
        params["connections"][name]["keep"] = keep
    out = addition.get("leave_out", [])
    for task in params["evaluate"]["tasks"].values():
        task["connections"] = [name for name in task["connections"] if name not in out]
    for name in out:
        del params["connections"][name]
    for task, names in addition.get("tasks", {}).items():
        params["evaluate"]["tasks"][task]["connections"] += names
    if addition:  # What the table over methods has no column for, is not measured.
        params["evaluate"] |= {"headlines": {}, "bootstrap": 200}
        params["evaluate"]["tasks"]["audio_image"].pop("hub_temperature")
        for task in ("geometry", "audio_point_shape"):
            del params["evaluate"]["tasks"][task]
    return params


def run(seed: int, folder: Path, addition: dict[str, Any]) -> dict[str, float]:
    """Run one seed from nothing; the seconds of each word of the pipeline."""
    if not folder.exists():
        project = Project(folder)

        def reseed(params: dict[str, Any]) -> None:
            params["seed"] = seed

        project.edit("params.yaml", reseed)
        if addition:
            project.edit("params.yaml", lambda params: extended(params, addition))
        project.edit("data/demo/params.yaml", reseed)
    # Threads that wait must not count as CPU time.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **Project.at(folder).environment}
    spaces = yaml.safe_load((folder / "params.yaml").read_text())["spaces"]
    stages = [f"encode@{space}" for space in spaces] if addition else []
    seconds: dict[str, float] = {}
    process = subprocess.Popen(
        ["dvc", "repro", *stages],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    word, since = "dvc", time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        started = re.match(r"Running stage '(?:.*:)?(\w+)", line)
        if started:
            seconds[word] = seconds.get(word, 0.0) + time.monotonic() - since
            word, since = started[1], time.monotonic()
    seconds[word] = seconds.get(word, 0.0) + time.monotonic() - since
    if process.wait():
        raise SystemExit(f"dvc repro failed for seed {seed} in {folder}")
    if addition:
        subprocess.run([sys.executable, "-m", "benchmarks.all.methods"], cwd=folder, env=environment, check=True)
    return {name: round(value, 1) for name, value in seconds.items()}


def measured(seed: int, folder: Path, table: str) -> pd.DataFrame:
    """A table of metrics of one seed: means of both directions, of tasks that have none what they have."""
    rows = pd.read_parquet(folder / "data/metrics" / f"{table}.parquet").assign(seed=seed)
    return rows[(rows.direction == "mean") | ~rows.task.isin(rows.task[rows.direction == "mean"])]


def main() -> None:
    """Run the seeds one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    parser.add_argument(
        "--keep", type=Path, help="Keep the copies below this folder; a seed that is there is not run again."
    )
    parser.add_argument(
        "--with", dest="addition", type=Path, help="Further jobs and connections, such as presets/sweeps/methods.yaml."
    )
    parser.add_argument("--against", help="A connection that every other one of audio_image is held against.")
    arguments = parser.parse_args()
    addition = yaml.safe_load(arguments.addition.read_text()) if arguments.addition else {}
    tables, differences, ranks, times, costs, galleries = [], [], [], {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            folder = (arguments.keep or Path(scratch)) / f"seed-{seed}"
            clock = folder / "seconds.json"
            if not clock.exists():
                seconds = run(seed, folder, addition)
                clock.write_text(json.dumps(seconds))
            times[seed] = json.loads(clock.read_text())
            tables.append(measured(seed, folder, "metrics"))
            differences.append(measured(seed, folder, "differences"))
            ranks.append(pd.read_parquet(folder / "data/metrics/ranks.parquet").assign(seed=seed))
            if addition:
                costs[seed], galleries[seed] = connected(folder), mixed(folder)
            print(f"seed {seed}: {sum(times[seed].values()):.0f} s  {times[seed]}", flush=True)
    rows = pd.concat(tables).assign(row=lambda r: r.task + " " + r.connection + " " + r.method)
    shares = rows[rows.metric.str.contains("R@|mAP|top-")]
    summary = 100 * shares.pivot_table(
        index="row", columns="metric", values="value", aggfunc=["mean", "std"], sort=False
    )
    print(summary.round(1).to_string())
    together = pd.concat(ranks, ignore_index=True)
    pairs = None
    if arguments.against:
        bases = {arguments.against, best_free(rows)}
        pairs = pd.concat([paired(together, "audio_image", each) for each in sorted(bases)])
        print(pairs.round(1).to_string(index=False))
    if arguments.json:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        result = {
            "commit": commit,
            "machine": f"{platform.machine()}, {platform.processor() or 'CPU'}",
            "seeds": arguments.seeds,
            "seconds": times,
            "rows": rows[["seed", "task", "connection", "method", "metric", "value", "chance"]].to_dict("records"),
            "differences": pd.concat(differences)
            .query("metric in ['R@1', 'R@10', 'class_mAP']")[
                ["seed", "task", "connection", "against", "metric", "value", "ci_low", "ci_high"]
            ]
            .to_dict("records"),
        }
        if addition:
            result |= {"load": os.getloadavg()[1], "cpu_seconds": costs, "mixed": galleries}
        if pairs is not None:
            result["paired"] = pairs.to_dict("records")
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def best_free(rows: pd.DataFrame) -> str:
    """The row of audio_image that trains nothing and finds most among ten, on average."""
    from pipeline.evaluate.baselines import BASELINES
    from pipeline.methods import methods

    free = {*BASELINES, *(name for name, method in methods().items() if not method.objective)}
    chosen = rows[(rows.task == "audio_image") & (rows.metric == "R@10") & rows.method.isin(free)]
    best: tuple[str, str] = chosen.groupby(["connection", "method"]).value.mean().idxmax()
    return f"{best[0]} {best[1]}"


if __name__ == "__main__":
    main()
