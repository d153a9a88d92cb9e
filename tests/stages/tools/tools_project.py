"""A project of a few files with one small space, for the commands that look at things."""

from pathlib import Path

import torch
import yaml

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import ImageSettings, TextSettings
from tests.conftest import png


def make_project(root: Path) -> Path:
    """params.yaml, data/spaces/clip (text and image, width 12) and 25 photos with captions under `root`."""
    torch.manual_seed(0)
    words = ("a", "photo", "number", *map(str, range(25)))
    towers = {"text": TextSettings(words), "image": ImageSettings()}
    save_compact(root / "data/spaces/clip", CompactModel(12, towers))
    raw = root / "data/raw/photos"
    raw.mkdir(parents=True)
    for number in range(25):
        (raw / f"p{number:03d}.png").write_bytes(png(number * 9))
        (raw / f"p{number:03d}.txt").write_text(f"a photo number {number}")
    params = {
        "corpora": {"photos": {"modalities": ["image", "text"], "source": "data/raw/photos", "samples_per_shard": 10}},
        "spaces": {"clip": {"encoder": "compact", "checkpoint": "data/spaces/clip"}},
        "encode": {"clip-photos": {"space": "clip", "corpus": "photos"}},
        "connections": {},
        "evaluate": {
            "tasks": {
                "own": {"task": "retrieval", "corpus": "photos", "modalities": ["text", "image"], "space": "clip"}
            }
        },
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return root
