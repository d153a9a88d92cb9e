"""Makes the golden folder. Run it with the code of the first version: PYTHONPATH=<checkout of f587de1> python make.py FOLDER."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, TextSettings

root = Path(sys.argv[1]).absolute()
root.mkdir(parents=True)
os.chdir(root)
text = TextSettings(("a", "photo", "sound", "of", *(f"w{number}" for number in range(8))), width=8, hidden=8)
for seed, (name, width, towers) in enumerate(
    [
        ("clip", 6, {"text": text, "image": ImageSettings(side=8, width=2)}),
        ("clap", 5, {"text": text, "audio": AudioSettings(frames=1600, mels=8, width=2)}),
    ]
):
    torch.manual_seed(seed)
    save_compact(root / "data/spaces" / name, CompactModel(width, towers))


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(number: int) -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(400) * (number + 1) / 20).astype(np.float32) / 2
    soundfile.write(buffer, wave, 8000, format="FLAC")
    return buffer.getvalue()


raw = Path("data/raw")
for folder, count, extension, make in (("photos", 7, "png", picture), ("sounds", 6, "flac", sound)):
    (raw / folder).mkdir(parents=True)
    for number in range(count):
        (raw / folder / f"{folder[0]}{number}.{extension}").write_bytes(make(number))
(raw / "photos" / "empty.png").write_bytes(b"")
(raw / "captions.txt").write_text("".join(f"a photo of w{n % 8} w{n // 8}\n" for n in range(9)))
params = {
    "seed": 0,
    "corpora": {
        "photos": {"modalities": ["image"], "source": "data/raw/photos", "samples_per_shard": 4},
        "sounds": {"modalities": ["audio"], "source": "data/raw/sounds", "samples_per_shard": 4},
        "captions": {"modalities": ["text"], "source": "data/raw/captions.txt", "samples_per_shard": 5},
    },
    "spaces": {
        name: {"encoder": "compact", "checkpoint": f"data/spaces/{name}", "batch_size": 4} for name in ("clip", "clap")
    },
    "encode": {
        f"{space}-{corpus}": {"space": space, "corpus": corpus}
        for space, corpus in (("clip", "photos"), ("clip", "captions"), ("clap", "sounds"), ("clap", "captions"))
    },
    "connections": {
        "audio_image": {
            "method": "cmcr",
            "join": {
                "spaces": ["clip", "clap"],
                "overlap": "text",
                "queries": ["captions"],
                "memories": {
                    "clip": {"modality": "image", "corpora": ["photos"]},
                    "clap": {"modality": "audio", "corpora": ["sounds"]},
                },
            },
            "retrieve": {"temperature": 0.1},
            "train": {"epochs": 2, "batch_size": 4, "projector": {"hidden": 8, "dimension": 4}},
        }
    },
    "evaluate": {
        "tasks": {"own": {"task": "retrieval", "corpus": "captions", "modalities": ["text", "image"], "space": "clip"}}
    },
    "limits": {"max_rejected": 0.2},
}
Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
for command in (
    "shard photos sounds captions",
    "encode --space clip",
    "encode --space clap",
    "retrieve audio_image",
    "train audio_image",
):
    subprocess.run([sys.executable, "-m", "stages.cli", *command.split()], check=True)
