"""The demo at reduced size, from nothing, as DVC runs it: what runs again, and what does not."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import png
from tests.makers.project import Project, shrink

pytestmark = pytest.mark.demo

OUTPUTS = ("data/spaces", "data/shards", "data/embeddings", "data/pairs", "data/models", "data/metrics", "data/reports")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("demo") / "one")
    shrink(project)
    project.run("dvc", "repro")
    return project


def test_every_stage_leaves_its_result(project):
    for name in ("shards/photos", "embeddings/clip/photos/image", "pairs/audio_image/clip-clap/overlap"):
        assert (project.folder / "data" / name / "_manifest.json").is_file()
    assert (project.folder / "data/models/audio_image/clip-clap/projector.safetensors").is_file()
    assert (project.folder / "data/reports/index.html").stat().st_size > 50_000
    metrics = pd.read_parquet(project.folder / "data/metrics/metrics.parquet")
    assert {"audio_image", "oracle", "shuffled_text", "random_partners"} <= set(metrics.connection)
    assert metrics.value.notna().all()


def test_a_second_run_does_nothing(project):
    assert project.repro() == ["inputs"], "to look whether anything changed"


def test_metrics_are_shown_by_dvc_and_by_mcr(project):
    assert {"C-MCR R@10", "oracle R@10"} <= set(re.split(r"  +", project.run("dvc", "metrics", "show").splitlines()[0]))
    assert "R@10" in project.run("mcr", "metrics")


def test_search_crosses_modalities(project):
    text = project.run("mcr", "search", "two small metal rings rising", "--in", "image", "-k", "3")
    assert len(re.findall(r"^ *-?[01]\.\d{3}  photos/", text, re.MULTILINE)) == 3
    sound = next((project.folder / "data/demo/raw/heldout").glob("*.flac"))
    found = project.folder / "found"
    project.run("mcr", "search", str(sound), "--in", "image", "-k", "3", "--save", str(found))
    assert len(list(found.iterdir())) == 3


def test_train_parameters_rerun_training_and_what_follows_only(project):
    def slower(params: dict[str, Any]) -> None:
        params["connections"]["audio_image"]["train"]["learning_rate"] = 0.002

    project.edit("params.yaml", slower)
    assert sorted(project.repro()) == ["evaluate", "inputs", "report", "train@audio_image"]


def test_the_title_of_the_report_reruns_the_report_only(project):
    project.edit("params.yaml", lambda params: params["report"].update(title="Another title"))
    assert project.repro() == ["inputs", "report"]


def test_ten_new_images_encode_one_new_shard(project):
    for number in range(10):
        (project.folder / f"data/demo/raw/photos/new-{number}.png").write_bytes(png(number))
    project.run("dvc", "commit", "-f", "data/demo/dvc.yaml:world")
    output = project.run("dvc", "repro")
    assert "shard photos: in 410 = 410 out + 0 rejected; 1 of 5 parts computed" in output
    assert "encode clip-photos image: in 410 = 410 out + 0 rejected; 1 of 5 parts computed" in output
    encoded = re.findall(r"^encode ([\w-]+ \w+): .*; [1-9]\d* of", output, re.MULTILINE)
    assert encoded == ["clip-photos image", "ulip-photos image"]


@pytest.mark.slow
def test_two_clones_write_the_same_bytes(tmp_path: Path):
    contents = []
    for name in ("a", "b"):
        clone = Project(tmp_path / name)
        shrink(clone)
        clone.run("dvc", "repro")
        contents.append(clone.contents(*OUTPUTS))
    assert contents[0].keys() == contents[1].keys()
    assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []
