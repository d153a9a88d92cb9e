"""README, "Use it for your own data", followed to the letter in a fresh clone, with a handful of small files."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, TextSettings
from tests.makers.project import Project
from tests.makers.readme import code
from tests.spaces.open_clip.test_open_clip import save_folder, tiny

WORDS = ("red", "green", "blue", "dog", "cat", "bird", "barks", "sings", "runs")


def caption(number: int) -> str:
    return f"a {WORDS[number % 3]} {WORDS[3 + number // 3 % 3]} {WORDS[6 + number // 9 % 3]} {number}"


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    coarse = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((48, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def sound(number: int) -> bytes:
    buffer = io.BytesIO()
    time = np.arange(6400) / 8000
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * (200 + 40 * number) * time), 8000, format="WAV")
    return buffer.getvalue()


def put_files(root: Path) -> None:
    """Raw data where the recipe has it, and small random weights where the public ones would be."""
    raw = root / "data/raw"
    rows = [json.dumps({"key": f"t{number}", "text": caption(number)}) for number in range(60)]
    (raw / "texts/captions.jsonl").write_text("\n".join(rows))
    for number in range(40):
        (raw / f"images/i{number}.jpg").write_bytes(picture(number))
        (raw / f"sounds/s{number}.wav").write_bytes(sound(number))
    for number in range(100, 112):
        (raw / f"heldout/h{number}.jpg").write_bytes(picture(number))
        (raw / f"heldout/h{number}.wav").write_bytes(sound(number))
    save_folder(root / "data/spaces/clip", tiny())
    torch.manual_seed(1)
    towers = {"text": TextSettings(WORDS), "audio": AudioSettings()}
    save_compact(root / "data/spaces/clap", CompactModel(12, towers))


def edited(params: dict[str, Any]) -> None:
    """As the README says: encoder, where the weights are, and for some the model; batches that small data fills."""
    params["spaces"]["clip"] = {"encoder": "open_clip", "checkpoint": "data/spaces/clip"}
    params["spaces"]["clap"] = {"encoder": "compact", "checkpoint": "data/spaces/clap"}
    params["connections"]["audio_image"]["train"]["batch_size"] = 20


@pytest.mark.slow  # 60 s
def test_three_steps_from_files_to_a_report(tmp_path: Path) -> None:
    project = Project(tmp_path / "clone")
    steps = [line.partition("#")[0].strip() for line in code("Use it for your own data").splitlines()]
    assert steps == ["mcr init cmcr-audio-image", "mcr doctor", "mcr check && dvc repro"]
    said = project.run("sh", "-c", steps[0])
    put_files(project.folder)
    assert all(place in said for place in ("data/raw/texts/captions.jsonl", "data/raw/heldout", "data/spaces/clap/"))
    project.edit("params.yaml", edited)
    before = project.contents("data/spaces", "data/raw")
    assert "can run here" in project.run("sh", "-c", steps[1])
    said = project.run("sh", "-c", steps[2])
    assert "shard images: in 40 = 40 out" in said and "pretrain" not in said
    assert project.contents("data/spaces", "data/raw") == before
    metrics = pd.read_parquet(project.folder / "data/metrics/metrics.parquet")
    assert "audio_image" in set(metrics.connection) and metrics.value.notna().all()
    report = (project.folder / "data/reports/index.html").read_text()
    assert "CLIP and CLAP, connected by text" in report
    assert project.repro() == ["inputs"]
    shutil.rmtree(project.folder)
