"""A project whose shards, embeddings and pairs lie in a bucket, from raw files to models: the bytes are those of a local one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.store import load_manifest
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.journal import JOURNAL_NAME
from stages.cli import app
from tests.makers.s3_server import Bucket
from tests.makers.small_project import CONNECTIONS, mcr

KINDS = ("shards", "embeddings", "pairs")
CORPORA, SPACES = ("captions", "photos", "sounds", "shapes", "heldout"), ("clip", "clap", "ulip")
Trees = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def away(small_project: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project without anything made, its storage in the bucket because the environment says so."""
    for kind in (*KINDS, "models"):
        shutil.rmtree(f"data/{kind}")
    monkeypatch.setenv("MCR_STORAGE", "s3://bucket/x")
    return small_project


def parts(folder: Path) -> dict[str, bytes]:
    return {
        f"{path.relative_to(folder)}": path.read_bytes()
        for kind in KINDS
        for path in sorted((folder / kind).rglob("*"))
        if path.suffix in (".tar", ".parquet") and not path.name.startswith("_")
    }


def test_every_stage_works_from_and_into_a_bucket(away: Path, made_project: Path, bucket: Bucket) -> None:
    make(away)
    assert bucket.contents("x") == parts(made_project / "data")
    assert not parts(away / "data"), "a part lies on the local disk"


@pytest.mark.slow
def test_what_comes_after_training_reads_from_the_bucket_as_well(
    away: Path, made_project: Path, bucket: Bucket
) -> None:
    make(away)
    shutil.rmtree(os.environ["MCR_CACHE"])
    mcr("evaluate")
    mcr("report")
    assert (away / "data/metrics/metrics.json").read_bytes() == (
        made_project / "data/metrics/metrics.json"
    ).read_bytes()
    said = mcr("verify", *(f"data/{kind}" for kind in KINDS))
    assert "DAMAGED" not in said and said.count(" sound") >= 16, said
    bucket.write("x/embeddings/clip/photos/image/part-00000.parquet", b"rot")
    done = CliRunner().invoke(app, ["verify", *(f"data/{kind}" for kind in KINDS)])
    assert done.exit_code == 1 and "s3://bucket/x/embeddings/clip/photos/image/part-00000.parquet" in done.output


@pytest.mark.slow
def test_worker_processes_send_their_parts_themselves(away: Path, made_project: Path, bucket: Bucket) -> None:
    params = yaml.safe_load((away / "params.yaml").read_text())
    params["run"] = {"processes": 2}
    (away / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    make(away)
    assert bucket.contents("x") == parts(made_project / "data")


def make(project: Path) -> None:
    mcr("shard", *CORPORA)
    for space in SPACES:
        mcr("encode", "--space", space)
    mcr("retrieve", *CONNECTIONS)
    mcr("train", *CONNECTIONS)


STAGES = {
    "shards": [["shard", *CORPORA]],
    "embeddings": [["encode", "--space", space] for space in SPACES],
    "pairs": [["retrieve", *CONNECTIONS]],
    "models": [["train", *CONNECTIONS]],
}


def recorded(project: Path) -> set[str]:
    """Addresses that manifests and journals list."""
    folders = {path.parent for name in (MANIFEST_NAME, JOURNAL_NAME) for path in (project / "data").rglob(name)}
    return {part.location.address for folder in folders for part in load_manifest(folder).parts if part.location}


def killed(project: Path, command: list[str], moment: Callable[[], bool]) -> bool:
    """Run the command and kill it, with its children, as soon as the moment has come; whether it was done before."""
    run = subprocess.Popen(
        [sys.executable, "-m", "stages.cli", *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while run.poll() is None and not moment():
        time.sleep(0.02)
    finished = run.poll() is not None
    if not finished:
        os.killpg(run.pid, signal.SIGKILL)
    output = run.communicate()[0].decode()
    assert not finished or run.returncode == 0, output
    return finished


@pytest.mark.slow
def test_killed_at_every_stage_it_continues_to_the_same_bytes_and_makes_nothing_recorded_again(
    away: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the same commands: this process, which has run other things, rounds some products otherwise.
    local = Path(shutil.copytree(away, away.parent / "local"))
    with monkeypatch.context() as here:
        here.setenv("MCR_STORAGE", "")
        assert all(killed(local, command, lambda: False) for commands in STAGES.values() for command in commands)
    bucket.keep_versions()
    draw = random.Random(int(os.environ.get("MCR_KILL_SEED", "0")))
    kills = dict.fromkeys(STAGES, 0)
    for kind, commands in STAGES.items():
        for command in commands:
            finished = False
            while not finished:
                settled = {name: count for name, count in bucket.versions().items() if name in recorded(away)}
                goal, wait = sum(bucket.versions().values()) + draw.randint(1, 4), draw.uniform(0, 0.05)
                known = set((away / "data/models").rglob("state.json"))

                def moment(kind: str = kind, goal: int = goal, wait: float = wait, known: set[Path] = known) -> bool:
                    if kind == "models":
                        come = bool(set((away / "data/models").rglob("state.json")) - known)
                    else:
                        come = sum(bucket.versions().values()) >= goal
                    if come:
                        time.sleep(wait)
                    return come

                finished = killed(away, command, moment)
                kills[kind] += not finished
                after = bucket.versions()
                assert {name: after[name] for name in settled} == settled, "made again"
    assert min(kills.values()) >= 2, kills
    assert bucket.contents("x") == parts(local / "data")
    models = lambda root: {  # noqa: E731
        path.relative_to(root): path.read_bytes() for path in (root / "data/models").rglob("*.safetensors")
    }
    assert models(away) == models(local) and models(away)
    assert not list((away / "data").rglob("*.tmp"))
