"""`mcr sweep` on small stores: trains what is new, measures every row and seed, and leaves the pseudo-pairs alone."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.connect.config import load_config
from pipeline.errors import UserError
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, write_rows
from pipeline.store.lock import LOCK_NAME, HeldError, Holder
from stages.cli import app

ROOT = Path(__file__).parents[3]
WIDTHS = {"clip": 12, "clap": 10}
HELD = {"captions": ("text",), "photos": ("image",), "sounds": ("audio",), "heldout": ("image", "audio")}
SWEEP = {
    "seeds": [0, 1],
    "connections": {
        "audio_image": {
            "task": "audio_image",
            "metric": "R@5",
            "rows": {"no noise": {"train": {"noise_variance": 0.0}}},
        }
    },
}


def write_store(space: str, corpus: str, modality: str) -> None:
    scenes = np.random.default_rng(len(corpus)).normal(size=(120, 6))
    space_map = np.random.default_rng(WIDTHS[space]).normal(size=(6, WIDTHS[space]))
    rows = scenes @ space_map + 0.3 * np.random.default_rng(len(modality)).normal(size=(120, WIDTHS[space]))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    keys = [f"{corpus}-{number:03d}" for number in range(120)]
    own = {"clip": ["text", "image"], "clap": ["text", "audio"]}[space]
    made = {"spec": {"checkpoint": space}, "modalities": own, "dimension": WIDTHS[space], "modality": modality}
    folder = PartFolder(Path("data/embeddings", space, corpus, modality), EMBEDDINGS, made)
    content = Rows(keys, {EMBEDDING_COLUMN: rows}, {})
    folder.commit("part-00000.parquet", corpus, keys, [], lambda path: write_rows(path, content, {}))
    folder.finish(0.0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    connection = params["connections"]["audio_image"]
    connection["train"].update(epochs=2, batch_size=40, projector={"kind": "mlp", "hidden": 16, "dimension": 8})
    params["connections"] = {"audio_image": connection}
    task = {**params["evaluate"]["tasks"]["audio_image"], "connections": ["audio_image"]}
    params["evaluate"]["tasks"] = {"audio_image": task}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    for space in WIDTHS:
        for corpus, modalities in HELD.items():
            for modality in set(modalities) & {"text", {"clip": "image", "clap": "audio"}[space]}:
                write_store(space, corpus, modality)
    assert CliRunner().invoke(app, ["retrieve", "audio_image"], catch_exceptions=False).exit_code == 0
    return params


def run(sweep: dict) -> str:
    Path("small.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    result = CliRunner().invoke(app, ["sweep", "small.yaml"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_row_is_trained_with_its_change_and_measured(project: dict) -> None:
    pairs = {path: path.stat().st_mtime_ns for path in Path("data/pairs").rglob("*")}
    said = run(SWEEP)
    assert "audio_image, no noise: R@5" in said and "sweep: 4 trained and measured" in said
    values = pd.read_parquet("data/sweeps/small/values.parquet")
    assert list(zip(values.row, values.seed, strict=True)) == [
        ("as in params.yaml", 0), ("as in params.yaml", 1), ("no noise", 0), ("no noise", 1)
    ]  # fmt: skip
    models = Path("data/sweeps/small/models")
    for row, noise in (("as in params.yaml", 0.004), ("no noise", 0.0)):
        for seed in (0, 1):
            config = load_config(models / f"audio_image, {row}, seed {seed}")
            assert (config.links[0].train["noise_variance"], config.seed) == (noise, seed)
    # The unchanged row with the seed of the parameters is the connection itself, measured by the same metric.
    for command in ("train audio_image", "evaluate"):
        assert CliRunner().invoke(app, command.split(), catch_exceptions=False).exit_code == 0
    metrics = pd.read_parquet("data/metrics/metrics.parquet").set_index(["method", "direction", "metric"])
    assert values.value[0] == metrics.value["cmcr", "mean", "R@5"]
    assert pairs == {path: path.stat().st_mtime_ns for path in Path("data/pairs").rglob("*")}
    assert "<circle" in Path("data/sweeps/small/index.html").read_text()
    assert CliRunner().invoke(app, ["report"], catch_exceptions=False).exit_code == 0
    page = Path("data/reports/index.html").read_text()
    section = page[page.index('id="ingredients"') : page.index('id="training"')]
    assert ">no noise<" in section and "run the sweep again" not in section
    # Other pseudo-pairs: what the sweep says is about the old ones.
    project["connections"]["audio_image"]["retrieve"]["temperature"] = 0.05
    Path("params.yaml").write_text(yaml.safe_dump(project))
    for command in ("retrieve audio_image", "train audio_image", "report"):
        assert CliRunner().invoke(app, command.split(), catch_exceptions=False).exit_code == 0
    assert "run the sweep again" in Path("data/reports/index.html").read_text()


def test_a_second_sweep_trains_what_is_new_only(project: dict) -> None:
    run(SWEEP)
    weights = {
        path: path.stat().st_mtime_ns for path in Path("data/sweeps/small/models").rglob("projector.safetensors")
    }
    SWEEP_MORE = {**SWEEP, "seeds": [0, 1, 2]}
    run(SWEEP_MORE)
    now = {path: path.stat().st_mtime_ns for path in Path("data/sweeps/small/models").rglob("projector.safetensors")}
    assert len(now) == 6 and weights.items() <= now.items()


def test_a_lock_of_elsewhere_is_broken_on_demand(project: dict) -> None:
    lock = Path("data/sweeps/small") / LOCK_NAME
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps(asdict(replace(Holder.here(), host="elsewhere"))))
    Path("small.yaml").write_text(yaml.safe_dump({**SWEEP, "seeds": [0]}))
    refused = CliRunner().invoke(app, ["sweep", "small.yaml"])
    assert isinstance(refused.exception, HeldError) and "--break-lock" in refused.exception.hint
    assert CliRunner().invoke(app, ["sweep", "small.yaml", "--break-lock"], catch_exceptions=False).exit_code == 0
    assert not lock.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"r": {"train": {"noise": 0}}}}, "train.noise"),
        ({"task": "audio_imag"}, "audio_image"),
        ({"metric": "R@7"}, "no 'R@7'. Did you mean 'R@5'?"),
        ({"metric": "r@10"}, "Did you mean 'R@10'?"),
        ({"direction": "Image->Audio"}, "Did you mean 'image->audio'?"),
        ({"metric": "median_rank"}, "not a share"),  # a lower rank is better: "better" would be said of what is worse
        ({"rows": {"far": {"train": {"learning_rate": 1e38}}}}, "audio_image, far, seed 0: The loss is not finite"),
    ],
)
def test_what_does_not_exist_or_work_is_named(project: dict, change: dict, message: str) -> None:
    wrong = {**SWEEP, "connections": {"audio_image": {**SWEEP["connections"]["audio_image"], **change}}}
    Path("small.yaml").write_text(yaml.safe_dump(wrong))
    result = CliRunner().invoke(app, ["sweep", "small.yaml"])
    assert isinstance(result.exception, UserError)
    assert Path("data/sweeps").exists() == ("loss" in message), "it was found before anything was trained"
    assert message in f"{result.exception.message} {result.exception.hint}"
