"""`kill -9` at random moments of `dvc repro`: the rerun ends with the bytes of an undisturbed run.

Run by `make test-slow`; `MCR_KILLS` sets how many.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import load_manifest
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.journal import JOURNAL_NAME
from tests.makers.project import Project, shrink

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MCR_KILLS", "40"))
OUTPUTS = ("data/shards", "data/embeddings", "data/pairs", "data/models", "data/metrics", "data/reports")


def only_compact_spaces(params: dict[str, Any]) -> None:
    """Audio and shapes joined by text: small spaces whose import takes a second, so that kills hit the work."""
    used = {"captions": "text", "sounds": "audio", "shapes": "point", "heldout": ""}
    params["corpora"] = {name: params["corpora"][name] for name in used}
    params["spaces"].pop("clip")
    jobs = ("clap-captions", "clap-sounds", "clap-heldout", "ulip-captions", "ulip-shapes", "ulip-heldout")
    params["encode"] = {job: dict(zip(("space", "corpus"), job.split("-"), strict=True)) for job in jobs}
    connection = params["connections"]["audio_image"]
    connection["join"]["spaces"] = ["clap", "ulip"]
    connection["join"]["memories"] = {
        "clap": {"modality": "audio", "corpora": ["sounds"]},
        "ulip": {"modality": "point", "corpora": ["shapes"]},
    }
    connection["train"]["epochs"] = 8
    params["connections"] = {"audio_point": connection}
    params["evaluate"]["tasks"] = {
        "audio_point": {
            "task": "retrieval",
            "corpus": "heldout",
            "modalities": ["audio", "point"],
            "connections": ["audio_point"],
            "baselines": "audio_point",
        }
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project whose world and spaces are made, and nothing after them."""
    project = Project(tmp_path_factory.mktemp("kill") / "one")
    shrink(project)
    project.edit("params.yaml", only_compact_spaces)
    project.run(
        "dvc",
        "repro",
        "data/demo/dvc.yaml:world",
        "data/demo/dvc.yaml:pretrain-clap",
        "data/demo/dvc.yaml:pretrain-ulip",
    )
    return project


def committed_parts(project: Project) -> dict[str, int]:
    """Parts committed in each folder, by manifest or journal; epochs kept by each checkpoint."""
    names = (MANIFEST_NAME, JOURNAL_NAME)
    folders = {path.parent for name in names for path in project.folder.glob(f"data/*/**/{name}")}
    found = {str(folder.relative_to(project.folder)): len(load_manifest(folder).parts) for folder in folders}
    for path in project.folder.glob("data/models/**/checkpoint/state.json"):
        found[str(path.parents[1].relative_to(project.folder))] = json.loads(path.read_text())["epoch"]
    return found


def computed(output: str) -> dict[str, tuple[int, int]]:
    """(computed, total) parts or epochs of each folder, from the accounting lines of a run."""
    found = {}
    for line in re.findall(r"^(?:shard|encode|retrieve|train) .* (?:parts|epochs) computed", output, re.MULTILINE):
        counts = re.search(r"(\d+) of (\d+) (?:parts|epochs) computed", line)
        stage, name, *rest = line.split(":")[0].split()
        folder = {
            "shard": f"data/shards/{name}",
            "encode": f"data/embeddings/{name.replace('-', '/')}/{''.join(rest)}",
            "retrieve": f"data/pairs/{name}",
            "train": f"data/models/{name}",
        }[stage]
        assert counts is not None
        found[folder] = (int(counts[1]), int(counts[2]))
    return found


def forget(project: Project) -> None:
    """Remove everything that the root stages made, so that a run starts from the raw files and the spaces."""
    for name in OUTPUTS:
        shutil.rmtree(project.folder / name, ignore_errors=True)
    (project.folder / "dvc.lock").unlink(missing_ok=True)
    # Without it DVC would restore results of the undisturbed run instead of running the stages.
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)


def is_json(file: Path) -> bool:
    """Whether it is whole."""
    try:
        json.loads(file.read_bytes())
    except ValueError:
        return False
    return True


def run_until(project: Project, seconds: float) -> tuple[bool, str]:
    """Run `dvc repro` and kill it with all its children after `seconds`; whether it was done before, and its output.

    What a DVC that is killed while it writes leaves of its record of what is in use is removed first, as `mcr doctor` advises.
    """
    log = project.folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    record = project.folder / ".dvc/tmp/rwlock"
    if record.exists() and not is_json(record):
        record.unlink()
    run = project.start("dvc", "repro")
    try:
        finished = run.wait(seconds) == 0
        assert finished, log.read_text()
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        finished = False
    return finished, log.read_text()


def test_killed_runs_continue_to_the_same_bytes_and_recompute_nothing(prepared: Project, capsys):
    """Each kill is followed by a rerun, which may be killed in its turn, until one reaches the end."""
    prepared.run("dvc", "repro")
    undisturbed = prepared.contents(*OUTPUTS)
    draw = random.Random(int(os.environ.get("MCR_KILL_SEED", "0")))
    kills = 0
    while kills < KILLS:
        forget(prepared)
        finished, here = False, 0
        while not finished:
            kept = committed_parts(prepared)
            finished, output = run_until(prepared, draw.uniform(0.5, 20))
            for folder, (count, total) in computed(output).items():
                assert count <= total - kept.get(folder, 0), f"after kill {kills + here}: {folder} was computed again"
            here += not finished
        kills += here
        after = prepared.contents(*OUTPUTS)
        different = [name for name in undisturbed.keys() | after.keys() if undisturbed.get(name) != after.get(name)]
        assert not different, f"after kill {kills}: {different}"
        with capsys.disabled():
            print(f"{here} kills on the way to the end, {kills} in all: same bytes, nothing computed again", flush=True)


def test_killed_runs_leave_no_half_file(prepared: Project):
    assert not [path for name in OUTPUTS for path in (prepared.folder / name).rglob("*.tmp")]
