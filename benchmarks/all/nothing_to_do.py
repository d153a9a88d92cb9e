"""A pipeline of 1,000 shards, run up to its first embeddings, of which nothing has changed: ``python -m benchmarks.all.nothing_to_do --json FILE``.

`dvc repro` looks at all that `dvc status` looks at, and runs `mcr inputs`, which looks at the raw data. Two more projects say what of
that is DVC's own: one whose stage `inputs` does nothing, though it always runs, and one in which no stage runs at all.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import yaml

from tests.makers.project import Project
from tests.makers.small_project import make_inputs

SHARDS = 1000
TARGET = "encode@clip"
# What is changed in dvc.yaml.
OTHERS = {
    "dvc repro of true": {"cmd: mcr inputs": "cmd: 'true'"},
    "dvc repro of nothing": {"cmd: mcr inputs": "cmd: 'true'", "    always_changed: true\n": ""},
}
COMMANDS = {
    "dvc status": ("dvc", "status", TARGET, "--quiet"),
    "dvc repro": ("dvc", "repro", TARGET, "--quiet"),
    "mcr plan": ("mcr", "plan"),
}


def main() -> None:
    """Make the project, run it once, and time the commands in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=SHARDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project")
        make(project, given.shards)
        ways = {name: (project, command) for name, command in COMMANDS.items()}
        ways |= {name: (changed(project, name), COMMANDS["dvc repro"]) for name in OTHERS}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(4):
            for name, (where, command) in ways.items():
                start = time.perf_counter()
                where.run(*command)
                if turn:  # the first one writes down what the files look like
                    seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(each) for name, each in seconds.items()}
    given.json.write_text(json.dumps(found | {"shards": given.shards, "samples": seconds}, indent=1) + "\n")


def changed(project: Project, name: str) -> Project:
    """A copy of `project` with another stage `inputs`, for which nothing is left to do."""
    copy = Project.at(project.folder.with_name(name))
    shutil.copytree(project.folder, copy.folder, symlinks=True)
    stages = copy.folder / "dvc.yaml"
    written = stages.read_text()
    for old, new in OTHERS[name].items():
        assert written.count(old) == 1
        written = written.replace(old, new)
    stages.write_text(written)
    copy.run("dvc", "repro", TARGET)
    return copy


def make(project: Project, shards: int) -> None:
    """A corpus of as many captions, each in a shard of its own, encoded by a small space."""
    (project.folder / "data/demo/dvc.yaml").unlink()
    params = make_inputs(project.folder)
    params["corpora"]["captions"]["samples_per_shard"] = 1
    captions = "".join(f"a photo of w{number % 12} w{number}\n" for number in range(shards))
    (project.folder / "data/raw/captions.txt").write_text(captions)
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.run("dvc", "init", "-f", "-q")
    project.run("dvc", "repro", TARGET)


if __name__ == "__main__":
    main()
