"""One project by every engine, with kills of workers and of drivers: the same bytes, and nothing is made twice.

Minutes long; run by `make test-slow`. Ray's part needs the extra `ray`.
"""

import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipeline.errors import UserError
from pipeline.store import load_manifest
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.journal import JOURNAL_NAME
from tests.makers.small_project import picture
from tests.stages.tools.tools_project import make_project

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RAY = pytest.param("ray", marks=pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"))
STAGES = (("shard", "photos"), ("encode", "--space", "clip"), ("retrieve", "self"))
MADE = ("data/shards", "data/embeddings", "data/pairs")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures and captions in parts of 8, and a connection of two copies of one space."""
    root = make_project(tmp_path_factory.mktemp("engines"))
    for number in range(25, 240):
        (root / f"data/raw/photos/p{number:03d}.png").write_bytes(picture(number))
        (root / f"data/raw/photos/p{number:03d}.txt").write_text(f"a photo number {number % 25}")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["corpora"]["photos"]["samples_per_shard"] = 8
    shutil.copytree(root / "data/spaces/clip", root / "data/spaces/other")
    params["spaces"]["other"] = {"encoder": "compact", "checkpoint": "data/spaces/other"}
    params["encode"]["other-photos"] = {"space": "other", "corpus": "photos"}
    params["connections"]["self"] = {
        "method": "cmcr",
        "join": {
            "spaces": ["clip", "other"],
            "overlap": "text",
            "queries": ["photos"],
            "memories": {name: {"modality": "image", "corpora": ["photos"]} for name in ("clip", "other")},
        },
        "retrieve": {"temperature": 0.1},
        "train": {},
    }
    params["threads"] = 1
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    run(root, "inputs")
    run(root, "shard", "photos")
    run(root, "encode", "--space", "other")
    shutil.copytree(root / "data/embeddings/other", root / "other")
    return root


def start(folder: Path, *arguments: str, to: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "stages.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=to, stderr=subprocess.STDOUT)


def run(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def how(folder: Path, **settings: Any) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump({**params, "run": settings}))


def forget(folder: Path) -> None:
    for name in MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(folder / "other", folder / "data/embeddings/other")


def content(folder: Path) -> dict[str, bytes]:
    files = (path for name in MADE for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def committed(folder: Path) -> int:
    """Parts that manifests and journals list; whoever writes them may be at it."""
    names = (MANIFEST_NAME, JOURNAL_NAME)
    folders = {path.parent for made in MADE for name in names for path in (folder / made).rglob(name)}
    try:
        return sum(len(load_manifest(each).parts) for each in folders if "other" not in each.parts)
    except (OSError, UserError):  # the manifest took the journal's place in this moment
        return committed(folder)


def computed(output: str) -> int:
    return sum(int(count) for count in re.findall(r"; (\d+) of \d+ parts computed", output))


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> dict[str, bytes]:
    forget(project)
    how(project)
    for arguments in STAGES:
        run(project, *arguments)
    return content(project)


def differing(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


@pytest.mark.parametrize("engine", ["local", RAY])
def test_two_processes_make_the_bytes_of_one(project, undisturbed, engine):
    forget(project)
    how(project, engine=engine, processes=2)
    for arguments in STAGES:
        run(project, *arguments)
    assert not differing(content(project), undisturbed)
    how(project)  # nothing is made again where another engine made it
    assert not sum(computed(run(project, *arguments)) for arguments in STAGES)


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
def test_a_cluster_that_loses_a_node_makes_the_bytes_of_one_process(project, undisturbed, monkeypatch):
    monkeypatch.setenv(
        "RAY_AUTH_MODE", "token"
    )  # Ray would leave a token in the home folder; it looks when it is imported
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from ray.cluster_utils import Cluster

    forget(project)
    run(project, *STAGES[0])
    for arguments in STAGES[1:]:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        node = cluster.add_node(num_cpus=1)
        how(project, engine="ray", address=cluster.address)
        before = committed(project)
        with open(project / "log", "w") as log:
            driver = start(project, *arguments, to=log)
        while driver.poll() is None and committed(project) < before + 5:
            time.sleep(0.02)
        alive = driver.poll() is None
        cluster.remove_node(node, allow_graceful=False)
        driver.wait()
        cluster.shutdown()
        output = (project / "log").read_text()
        assert alive and driver.returncode == 0, output
        assert committed(project) - computed(output) == before
    assert not differing(content(project), undisturbed)


def test_slices_of_a_job_array_make_the_bytes_of_one_process(project, undisturbed):
    forget(project)
    how(project)
    run(project, *STAGES[0])
    for arguments in STAGES[1:]:
        beside = [start(project, *arguments, "--slice", f"{number}/2") for number in (1, 2)]
        for process in beside:
            assert process.wait() == 0, process.communicate()
        assert not computed(run(project, *arguments))
    assert not differing(content(project), undisturbed)


def test_killed_workers_cost_time_and_nothing_else(project, undisturbed, capsys):
    """Each kill comes when one to four parts more are there: on any machine they hit the work, not the start."""
    draw, kills = random.Random(0), 0
    forget(project)
    how(project, processes=2)
    for arguments in STAGES:
        driver = start(project, *arguments)
        due = committed(project) + draw.randint(1, 4)
        while driver.poll() is None:
            time.sleep(0.02)
            workers = _workers_of(driver.pid)
            if workers and committed(project) >= due:
                os.kill(draw.choice(workers), signal.SIGKILL)
                kills += 1
                due = committed(project) + draw.randint(1, 4)
        assert driver.returncode == 0, driver.communicate()[0]
    assert not differing(content(project), undisturbed), f"after {kills} kills"
    with capsys.disabled():
        print(f"{kills} kills of workers: same bytes", flush=True)
    assert kills >= 20


def test_killed_drivers_lose_nothing_that_was_adopted(project, undisturbed, capsys):
    draw, kills = random.Random(1), 0
    forget(project)
    how(project, processes=2)
    for arguments in STAGES:
        over = False
        while not over:
            before = committed(project)
            due = before + draw.randint(2, 8)
            with open(project / "log", "w") as log:
                driver = start(project, *arguments, to=log)
            while driver.poll() is None and committed(project) < due:
                time.sleep(0.02)
            over = driver.poll() is not None
            if not over:
                driver.kill()
                kills += 1
            driver.wait()
            if over:
                assert driver.returncode == 0, (project / "log").read_text()
                made = computed((project / "log").read_text())
                assert committed(project) - made == before, "something was made again"
    assert not differing(content(project), undisturbed), f"after {kills} kills"
    with capsys.disabled():
        print(f"{kills} kills of drivers: same bytes, nothing made again", flush=True)
    assert kills >= 10


def _workers_of(driver: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == driver and b"pipeline.engines.process" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


FRAGILE = '''
import ctypes, time

import torch

from pipeline.spaces.protocol import unit_rows


def live_with(letters):
    """What becomes of the process that has this text in hand."""
    if letters[ord("!")]:
        ctypes.string_at(0)
    if letters[ord("?")]:
        time.sleep(3600)
    while letters[ord("#")]:
        letters = torch.cat([letters, torch.ones(1 << 24)])
        time.sleep(0.01)


class Fragile:
    modalities, dimension = ("text",), 8

    @classmethod
    def load(cls, spec, device):
        return cls()

    @staticmethod
    def weight_files(spec):
        return []

    def fingerprint(self, modality):
        return {"code": 1}

    def preprocess(self, modality, payload):
        if b"$" in payload:
            ctypes.string_at(0)
        return torch.bincount(torch.tensor(list(payload)), minlength=256).float()

    def encode(self, modality, batch):
        for letters in batch:
            live_with(letters)
        return unit_rows(batch @ torch.randn(256, 8, generator=torch.Generator().manual_seed(0)))
'''


@pytest.mark.parametrize("engine", ["local", RAY])
def test_a_text_that_ends_what_works_on_it_is_reported_by_key_and_all_others_are_there(tmp_path, engine):
    project = make_project(tmp_path)
    (project / "plugins").mkdir()
    (project / "plugins/fragile.py").write_text(FRAGILE)
    (project / "plugins/entry_points.txt").write_text("[mcr_connect.encoders]\nfragile = fragile:Fragile\n")
    # In the model a crash, a hang and a hunger for memory; in the decoder, which runs in the worker itself, a crash.
    sick = {3: "crash !", 12: "hang ?", 13: "hunger #", 24: "decoder $"}
    for number, text in sick.items():
        (project / f"data/raw/photos/p{number:03d}.txt").write_text(text)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["spaces"] = {"clip": {"encoder": "fragile", "checkpoint": "none", "batch_size": 4}}
    params |= {"threads": 1, "limits": {"max_rejected": 0.5}}
    params["run"] = {"engine": engine, "processes": 2, "time_limit": 15, "memory": 0.5}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    run(project, "shard", "photos")
    output = run(project, "encode", "--space", "clip")
    assert "in 25 = 21 out + 4 rejected" in output
    failures = pd.read_parquet(project / "data/embeddings/clip/photos/text/_failures.parquet").set_index("key").message
    reasons = {3: "SIGSEGV", 12: "no progress for 15 s", 13: "more than 476 MB", 24: "SIGSEGV"}
    assert {int(key[1:]) for key in failures.index} == set(sick)
    for number, reason in reasons.items():
        assert reason in failures[f"p{number:03d}"], json.dumps(failures.to_dict())
    assert run(project, "encode", "--space", "clip").count("0 of 3 parts computed") == 1
