"""A pipeline of 1,000 shards in which nothing has changed: ``python -m benchmarks.all.nothing_to_do --json FILE``.

`dvc repro` looks at all that `dvc status` looks at, and runs `mcr inputs`, which looks at the raw data. DVC runs a stage that
always runs in a process and writes its lock anew: `dvc repro of true` is what that takes in the same project, with a stage
that does nothing instead of `mcr inputs`.
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
INPUTS = "cmd: mcr inputs"
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
        ways["dvc repro of true"] = (without_inputs(project), COMMANDS["dvc repro"])
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(4):
            for name, (where, command) in ways.items():
                start = time.perf_counter()
                where.run(*command)
                if turn:  # the first one writes down what the files look like
                    seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(each) for name, each in seconds.items()}
    given.json.write_text(json.dumps(found | {"shards": given.shards, "samples": seconds}, indent=1) + "\n")


def without_inputs(project: Project) -> Project:
    """A copy of `project` whose stage `inputs` does nothing."""
    copy = Project.at(project.folder.with_name("without-inputs"))
    shutil.copytree(project.folder, copy.folder, symlinks=True)
    stages = copy.folder / "dvc.yaml"
    written = stages.read_text()
    assert written.count(INPUTS) == 1
    stages.write_text(written.replace(INPUTS, "cmd: 'true'"))
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
