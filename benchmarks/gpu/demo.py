"""The demo at reduced size on the device: every stage runs, a second time finds nothing to do, and the parts say what made them."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import typer
import yaml

from benchmarks.gpu.rows import Step
from pipeline.store import load_manifest
from stages.cli import app

ROOT = Path(__file__).parents[2]
CONNECTIONS = ["audio_image", "unified", "coupled"]


def edited(source: Path, target: Path, change: Any) -> None:
    """Copy a file of parameters with `change` applied to it."""
    content = yaml.safe_load(source.read_text())
    change(content)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(content, sort_keys=False))


def prepare(folder: Path, step: Step) -> None:
    """The demo's parameters at the size of `step`, in `folder`."""
    scenes, learned = step.size(4096, 200), step.size(8192, 256)

    def world(params: dict[str, Any]) -> None:
        params["threads"] = os.cpu_count()
        params["sizes"] = dict.fromkeys(params["sizes"], scenes) | {"heldout": step.size(800, 60)}
        for space in params["pretrain"].values():
            space.update(scenes=learned, epochs=step.size(3, 1), batch=128)

    def project(params: dict[str, Any]) -> None:
        params["run"] = {"device": step.device, "workers": min(8, os.cpu_count() or 1)}
        params["connections"] = {name: params["connections"][name] for name in CONNECTIONS}
        for connection in params["connections"].values():
            connection["train"].update(epochs=step.size(6, 2), batch_size=step.size(512, 64))
        task = params["evaluate"]["tasks"]["audio_image"]
        params["evaluate"] = {"bootstrap": 100, "tasks": {"audio_image": {
            "task": "retrieval", "corpus": "heldout", "modalities": task["modalities"], "connections": CONNECTIONS}}}  # fmt: skip

    edited(ROOT / "data/demo/params.yaml", folder / "data/demo/params.yaml", world)
    edited(ROOT / "params.yaml", folder / "params.yaml", project)


def mcr(*words: str) -> None:
    """One command, in this process: torch takes longer to import than a stage of this size takes."""
    try:
        app(list(words), standalone_mode=False)
    except typer.Exit as end:
        if end.exit_code:
            raise SystemExit(f"mcr {' '.join(words)} ended with {end.exit_code}") from None


def stages() -> None:
    """The stages between the raw files and the measured metrics."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    mcr("shard", *params["corpora"])
    for space in params["spaces"]:
        mcr("encode", "--space", space)
    for stage in ("retrieve", "train"):
        mcr(stage, *CONNECTIONS)
    mcr("evaluate")


def tree() -> dict[str, float]:
    """When each part of a store and each projector was written."""
    found = [path for end in ("parquet", "safetensors") for path in Path("data").rglob(f"[!_]*.{end}")]
    return {str(path): path.stat().st_mtime for path in found if not path.is_relative_to("data/metrics")}


def main() -> None:
    """Run it in a folder of its own."""
    step = Step.of_arguments()
    folder = Path(tempfile.mkdtemp())
    prepare(folder, step)
    os.chdir(folder)
    mcr("demo", "world")
    for space in ("clip", "clap", "ulip"):
        mcr("demo", "pretrain", space)
    started = time.monotonic()
    stages()
    step.measured("demo at reduced size, from raw files to metrics", f"{time.monotonic() - started:.1f} s")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    step.holds("demo: every metric is a number", bool(metrics.value.notna().all()), f"{len(metrics)} metrics")
    made = {part.arithmetic for place in ("embeddings", "pairs") for path in Path("data", place).rglob("_manifest.json")
            for part in load_manifest(path.parent).parts}  # fmt: skip
    step.holds(
        "demo: its parts record this device",
        {each.split()[0] for each in made} == {step.device},
        ", ".join(sorted(made)),
    )
    before = tree()
    stages()
    step.holds("demo: a second run computes nothing", tree() == before)
    top = metrics[(metrics.metric == "R@10") & (metrics.connection == "audio_image") & (metrics.direction == "mean")]
    lift = float((top.value / top.chance).iloc[0])
    if step.small:
        step.measured("demo: recall at 10 of pairs never seen, x chance", f"{lift:.1f}")
    else:
        step.at_least("demo: recall at 10 of pairs never seen, x chance", lift, 3.0)
    os.chdir(ROOT)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
