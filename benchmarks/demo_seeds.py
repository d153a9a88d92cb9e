"""Run the whole demo for several seeds and print what it measures, with the spread over the seeds.

The world and the settings were tuned on seed 0; the other seeds are the evidence. Every run is a copy of the project of
its own, from the raw files to the metrics; the time of each stage is that of the first one.

    python benchmarks/demo_seeds.py --seeds 1 2 3 --json benchmarks/results/demo.json

With `--with presets/sweeps/methods.yaml` further connections are run and measured on the same worlds, and with
`--against coupled` each is held against that one: differences paired by item, over all seeds together.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.evaluate.results.bootstrap import Sample, interval, resample
from tests.makers.project import Project

METRICS_AT = (1, 10)


def extended(params: dict[str, Any], addition: dict[str, Any]) -> dict[str, Any]:
    """`params` with the jobs and connections of `addition`, and by task what it measures as well."""
    addition = json.loads(json.dumps(addition))  # What anchors share is written out.
    params["encode"] |= addition.get("encode", {})
    params["connections"] |= addition.get("connections", {})
    for task, names in addition.get("tasks", {}).items():
        params["evaluate"]["tasks"][task]["connections"] += names
    return params


def run(seed: int, folder: Path, addition: dict[str, Any]) -> dict[str, float]:
    """Run one seed from nothing; the seconds of each word of the pipeline."""
    project = Project(folder)

    def reseed(params: dict[str, Any]) -> None:
        params["seed"] = seed

    project.edit("params.yaml", reseed)
    project.edit("params.yaml", lambda params: extended(params, addition))
    project.edit("data/demo/params.yaml", reseed)
    seconds: dict[str, float] = {}
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=folder,
        env=project.environment,
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
    return {name: round(value, 1) for name, value in seconds.items()}


def measured(seed: int, folder: Path, table: str) -> pd.DataFrame:
    """A table of metrics of one seed: means of both directions, of tasks that have none what they have."""
    rows = pd.read_parquet(folder / "data/metrics" / f"{table}.parquet").assign(seed=seed)
    return rows[(rows.direction == "mean") | ~rows.task.isin(rows.task[rows.direction == "mean"])]


def paired(ranks: pd.DataFrame, task: str, against: str) -> pd.DataFrame:
    """Recall of every connection of `task` less that of `against`, with its 95 % interval over the items of all seeds.

    Args:
        ranks: Of all seeds, with a column `seed`.
        task: Of the evaluation.
        against: A connection of it.
    """
    ranks = ranks[(ranks.task == task) & ~ranks.method.str.endswith("_hubs") & (ranks.method != "frozen")]
    items = ranks.groupby(["seed", "item"]).ngroup()
    found = []
    for k in METRICS_AT:
        names, measures = [], []
        for (connection, method), rows in ranks.groupby(["connection", "method"], sort=False):
            ways = rows.groupby("direction")
            names.append((connection, method))
            measures.append(
                [Sample((way["rank"] <= k).to_numpy(float), items[way.index].to_numpy()) for _, way in ways]
            )
        drawn = resample(measures, int(items.max()) + 1, 2000, 0)
        place = next(at for at, (connection, _) in enumerate(names) if connection == against)
        value = [float(np.mean([sample.value() for sample in each])) for each in measures]
        for (connection, method), one, other in zip(names, value, drawn, strict=True):
            low, high = interval(other - drawn[place])
            found.append((f"{connection} {method}", f"R@{k}", 100 * (one - value[place]), 100 * low, 100 * high))
    return pd.DataFrame(found, columns=["row", "metric", f"less {against}", "from", "to"])


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
    tables, differences, ranks, times = [], [], [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            folder = (arguments.keep or Path(scratch)) / f"seed-{seed}"
            clock = folder / "seconds.json"
            if not clock.exists():
                clock.write_text(json.dumps(run(seed, folder, addition)))
            times[seed] = json.loads(clock.read_text())
            tables.append(measured(seed, folder, "metrics"))
            differences.append(measured(seed, folder, "differences"))
            ranks.append(pd.read_parquet(folder / "data/metrics/ranks.parquet").assign(seed=seed))
            print(f"seed {seed}: {sum(times[seed].values()):.0f} s  {times[seed]}", flush=True)
    rows = pd.concat(tables).assign(row=lambda r: r.task + " " + r.connection + " " + r.method)
    shares = rows[rows.metric.str.contains("R@|mAP|top-")]
    summary = 100 * shares.pivot_table(
        index="row", columns="metric", values="value", aggfunc=["mean", "std"], sort=False
    )
    print(summary.round(1).to_string())
    pairs = paired(pd.concat(ranks, ignore_index=True), "audio_image", arguments.against) if arguments.against else None
    if pairs is not None:
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
        if pairs is not None:
            result["paired"] = pairs.to_dict("records")
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
