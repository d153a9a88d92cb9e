"""A whole project of a few files: three small spaces, unpaired corpora, two connections and a bridge, really made."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings
from stages.cli import app

WORDS = ("a", "photo", "sound", "of", *(f"w{number}" for number in range(12)))
CONNECTIONS = ("audio_image", "bridged", "unified")


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(number: int) -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(4000) * (number + 1) / 20).astype(np.float32) / 2
    soundfile.write(buffer, wave, 8000, format="FLAC")
    return buffer.getvalue()


def cloud(number: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(number).random((96, 6), np.float32))
    return buffer.getvalue()


def mcr(*arguments: str) -> str:
    """What the command prints; its failure is one of the test."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def make_small_project(root: Path) -> Path:
    """Make the project in `root`, from raw files to metrics and report, in this process."""
    (root / "params.yaml").write_text(yaml.safe_dump(make_inputs(root), sort_keys=False))
    here = Path.cwd()
    os.chdir(root)
    try:
        mcr("inputs")
        mcr("shard", *_params()["corpora"])
        for space in _params()["spaces"]:
            mcr("encode", "--space", space)
        mcr("retrieve", *CONNECTIONS)
        mcr("train", *CONNECTIONS)
        mcr("evaluate")
        mcr("report")
    finally:
        os.chdir(here)
    return root


def make_inputs(root: Path) -> dict[str, Any]:
    """Make spaces and raw files below `root`; the parameters that name them."""
    root.mkdir(parents=True, exist_ok=True)
    _spaces(root / "data/spaces")
    _raw(root / "data/raw")
    return _params()


def _spaces(folder: Path) -> None:
    text = TextSettings(WORDS, width=8, hidden=8)
    image, points = ImageSettings(side=8, width=2), PointSettings(points=32, width=4)
    towers = {
        "clip": (6, {"text": text, "image": image}),
        "clap": (5, {"text": text, "audio": AudioSettings(frames=1600, mels=8, width=2)}),
        "ulip": (7, {"text": text, "image": image, "point": points}),
    }
    for seed, (name, (width, settings)) in enumerate(towers.items()):
        torch.manual_seed(seed)
        save_compact(folder / name, CompactModel(width, settings))


def _raw(folder: Path) -> None:
    makers = {"photos": (picture, "png", 12), "sounds": (sound, "flac", 10), "shapes": (cloud, "npy", 9)}
    for name, (make, extension, count) in makers.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{name[0]}{number:02d}.{extension}").write_bytes(make(number))  # type: ignore[operator]
    (folder / "captions.txt").write_text("".join(f"a photo of w{n % 12} w{n // 4}\n" for n in range(24)))
    (folder / "heldout").mkdir()
    for number in range(8):
        stem = folder / "heldout" / f"h{number}"
        stem.with_suffix(".png").write_bytes(picture(100 + number))
        stem.with_suffix(".flac").write_bytes(sound(30 + number))
        stem.with_suffix(".txt").write_text(f"a <b>sound</b> of w{number} & w{number + 1}")


def _params() -> dict[str, Any]:
    corpora = {
        "captions": {"modalities": ["text"], "source": "data/raw/captions.txt", "samples_per_shard": 10},
        "photos": {"modalities": ["image"], "source": "data/raw/photos", "samples_per_shard": 5},
        "sounds": {"modalities": ["audio"], "source": "data/raw/sounds", "samples_per_shard": 5},
        "shapes": {"modalities": ["point"], "source": "data/raw/shapes", "samples_per_shard": 5},
        "heldout": {"modalities": ["image", "audio", "text"], "source": "data/raw/heldout"},
    }
    read = {
        "clip": ["captions", "photos", "heldout"],
        "clap": ["captions", "sounds", "heldout"],
        "ulip": ["photos", "shapes"],
    }
    audio_image = {
        "spaces": ["clip", "clap"],
        "overlap": "text",
        "queries": ["captions"],
        "memories": {
            "clip": {"modality": "image", "corpora": ["photos"]},
            "clap": {"modality": "audio", "corpora": ["sounds"]},
        },
    }
    sounds = {name: value for name, value in audio_image.items() if name != "spaces"}
    shapes = {
        "overlap": "image",
        "queries": ["photos"],
        "memories": {
            "clip": {"modality": "text", "corpora": ["captions"]},
            "ulip": {"modality": "point", "corpora": ["shapes"]},
        },
    }
    train = {"epochs": 2, "batch_size": 8, "projector": {"hidden": 8, "dimension": 4}}
    return {
        "seed": 0,
        "threads": 1,
        "corpora": corpora,
        "spaces": {name: {"encoder": "compact", "checkpoint": f"data/spaces/{name}", "batch_size": 4} for name in read},
        "encode": {
            f"{space}-{corpus}": {"space": space, "corpus": corpus} for space, held in read.items() for corpus in held
        },
        "connections": {
            "audio_image": {
                "method": "cmcr",
                "join": audio_image,
                "retrieve": {"temperature": 0.1},
                "train": train,
            },
            "bridged": {
                "method": "bridge",
                "join": audio_image,
                "retrieve": {"profile": {"perplexity": 5}},
                "train": {},
                "keep": {"weight": 0.9},
            },
            "unified": {
                "method": "exmcr",
                "join": {"base": "clip", "leaves": {"clap": sounds, "ulip": shapes}},
                "retrieve": {"temperature": 0.1},
                "train": {"epochs": 2, "batch_size": 8, "projector": {"kind": "decoupled", "hidden": 8}},
            },
        },
        "limits": {"max_rejected": 0.2},
        "evaluate": {
            "bootstrap": 20,
            "tasks": {
                "audio_image": {
                    "task": "retrieval",
                    "corpus": "heldout",
                    "modalities": ["audio", "image"],
                    "connections": list(CONNECTIONS),
                    "baselines": "audio_image",
                }
            },
        },
    }
