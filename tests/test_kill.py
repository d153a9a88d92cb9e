"""`kill -9` at random moments of `dvc repro`: the rerun ends with the bytes of an undisturbed run.

Run by `make test-slow`; `MCR_KILLS` sets how many.
"""

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.project import Project, shrink

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
    connection["spaces"] = ["clap", "ulip"]
    connection["memories"] = {
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
    project.run("dvc", "repro", "data/demo/dvc.yaml:world", "data/demo/dvc.yaml:pretrain@clap", "data/demo/dvc.yaml:pretrain@ulip")
    return project


def committed_parts(project: Project) -> dict[str, int]:
    """Parts listed by each manifest, by folder; epochs kept by each checkpoint."""
    found = {
        str(path.parent.relative_to(project.folder)): len(json.loads(path.read_text())["parts"])
        for path in project.folder.glob("data/*/**/_manifest.json")
    }
    for path in project.folder.glob("data/models/*/checkpoint/state.json"):
        found[str(path.parents[1].relative_to(project.folder))] = json.loads(path.read_text())["epoch"]
    return found


def computed(output: str) -> dict[str, tuple[int, int]]:
    """(computed, total) parts or epochs of each folder, from the accounting lines of a run."""
    found = {}
    for line in re.findall(r"^(?:shard|encode|retrieve|train) .*", output, re.MULTILINE):
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


def test_a_killed_run_continues_to_the_same_bytes_and_recomputes_nothing(prepared: Project, capsys):
    began = time.monotonic()
    prepared.run("dvc", "repro")
    duration = time.monotonic() - began
    undisturbed = prepared.contents(*OUTPUTS)
    draw = random.Random(0)
    for number in range(KILLS):
        forget(prepared)
        moment = draw.uniform(0.5, duration)
        run = prepared.start("dvc", "repro")
        time.sleep(moment)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        kept = committed_parts(prepared)
        output = prepared.run("dvc", "repro")
        after = prepared.contents(*OUTPUTS)
        different = [name for name in undisturbed.keys() | after.keys() if undisturbed.get(name) != after.get(name)]
        assert not different, f"kill {number} at {moment:.1f} s: {different}"
        for folder, (count, total) in computed(output).items():
            assert count == total - kept.get(folder, 0), f"kill {number} at {moment:.1f} s recomputed parts of {folder}"
        with capsys.disabled():
            print(f"kill {number + 1} of {KILLS} at {moment:.1f} of {duration:.1f} s: {sum(kept.values())} parts kept, same bytes")


def test_the_child_of_a_killed_run_leaves_no_half_file(prepared: Project):
    assert not [path for name in OUTPUTS for path in Path(prepared.folder / name).rglob("*.tmp")]
