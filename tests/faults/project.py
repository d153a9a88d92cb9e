"""A real project of a few dozen files: four modalities, three spaces, a connection, and one with a base."""

import io
import json
from pathlib import Path

import numpy as np
import soundfile
import yaml
from PIL import Image

WORDS = ("a", "small", "large", "red", "blue", "ball", "box", "bell", *map(str, range(40)))
SPACES = {"clip": ("text", "image"), "clap": ("text", "audio"), "ulip": ("image", "point")}
SIZES = {"photos": 20, "sounds": 20, "shapes": 20, "heldout": 10}
MODALITIES = {
    "photos": ["image"],
    "sounds": ["audio"],
    "shapes": ["point"],
    "heldout": ["image", "audio", "point", "text"],
}
# Each stage with what it writes; together the whole of `dvc repro`.
STAGES: dict[str, tuple[list[str], str]] = {
    "shard": (["shard", "captions", *SIZES], "data/shards"),
    "encode-clip": (["encode", "--space", "clip"], "data/embeddings/clip"),
    "encode-clap": (["encode", "--space", "clap"], "data/embeddings/clap"),
    "encode-ulip": (["encode", "--space", "ulip"], "data/embeddings/ulip"),
    "retrieve": (["retrieve", "audio_image", "unified"], "data/pairs"),
    "train": (["train", "audio_image", "unified"], "data/models"),
    "evaluate": (["evaluate"], "data/metrics"),
    "report": (["report"], "data/reports"),
}


def _png(draw: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw.integers(0, 255, (16, 16, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _flac(draw: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, draw.normal(0, 0.1, 1600), 8000, format="FLAC")
    return buffer.getvalue()


def _npy(draw: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, draw.random((128, 6), np.float32))
    return buffer.getvalue()


def _txt(draw: np.random.Generator) -> bytes:
    return " ".join(draw.choice(WORDS, 5)).encode()


MAKERS = {"image": ("png", _png), "audio": ("flac", _flac), "point": ("npy", _npy), "text": ("txt", _txt)}


def make_project(root: Path) -> Path:
    """params.yaml, raw files and spaces of random weights below `root`; equal bytes every time."""
    for corpus, count in SIZES.items():
        folder = root / "raw" / corpus
        folder.mkdir(parents=True)
        for number in range(count):
            for modality in MODALITIES[corpus]:
                extension, make = MAKERS[modality]
                draw = np.random.default_rng([number, *corpus.encode(), *modality.encode()])
                (folder / f"{corpus}-{number:03d}.{extension}").write_bytes(make(draw))
    lines = [
        {"key": f"c{number:03d}", "text": _txt(np.random.default_rng([number, 7])).decode()} for number in range(24)
    ]
    (root / "raw/captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _make_spaces(root)
    (root / "params.yaml").write_text(yaml.safe_dump(_params(), sort_keys=False))
    return root


def _make_spaces(root: Path) -> None:
    import torch

    from pipeline.spaces.compact.space import CompactModel, save_compact
    from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings

    towers = {
        "text": TextSettings(WORDS, 8, 16, 16),
        "image": ImageSettings(16, 8),
        "audio": AudioSettings(frames=1600, mels=8, width=8),
        "point": PointSettings(64, 16),
    }
    for number, (space, modalities) in enumerate(SPACES.items()):
        torch.manual_seed(number)
        save_compact(root / "data/spaces" / space, CompactModel(16, {name: towers[name] for name in modalities}))


def _params() -> dict[str, object]:
    train = {"epochs": 3, "batch_size": 8, "noise_variance": 0.004}
    text = {"overlap": "text", "queries": ["captions"]}
    memories = {
        "clip": {"modality": "image", "corpora": ["photos"]},
        "clap": {"modality": "audio", "corpora": ["sounds"]},
    }
    image = {
        "overlap": "image",
        "queries": ["photos"],
        "memories": {
            "clip": {"modality": "text", "corpora": ["captions"]},
            "ulip": {"modality": "point", "corpora": ["shapes"]},
        },
    }
    return {
        "seed": 0,
        "threads": 1,
        "corpora": {
            "captions": {"modalities": ["text"], "source": "raw/captions.jsonl", "samples_per_shard": 8},
            **{
                name: {"modalities": MODALITIES[name], "source": f"raw/{name}", "samples_per_shard": 8} for name in SIZES
            },
        },
        "limits": {"max_rejected": 0.0},
        "spaces": {space: {"encoder": "compact", "checkpoint": f"data/spaces/{space}"} for space in SPACES},
        "encode": {
            f"{space}-{corpus}": {"space": space, "corpus": corpus}
            for space, corpora in {
                "clip": ["captions", "photos", "heldout"],
                "clap": ["captions", "sounds", "heldout"],
                "ulip": ["photos", "shapes", "heldout"],
            }.items()
            for corpus in corpora
        },
        "connections": {
            "audio_image": {
                "method": "cmcr",
                "join": {"spaces": ["clip", "clap"], **text, "memories": memories},
                "retrieve": {},
                "train": {**train, "projector": {"kind": "mlp", "hidden": 16, "dimension": 16}},
            },
            "unified": {
                "method": "exmcr",
                "join": {"base": "clip", "leaves": {"clap": {**text, "memories": memories}, "ulip": image}},
                "retrieve": {},
                "train": {**train, "projector": {"kind": "decoupled", "hidden": 16}},
            },
        },
        "evaluate": {
            "bootstrap": 20,
            "examples": 2,
            "tasks": {
                "audio_image": {
                    "task": "retrieval",
                    "corpus": "heldout",
                    "modalities": ["audio", "image"],
                    "connections": ["audio_image", "unified"],
                    "baselines": "audio_image",
                },
                "image_text": {
                    "task": "retrieval", "corpus": "heldout", "modalities": ["image", "text"], "space": "clip",
                },
            },
        },
        "report": {"title": "Faults", "examples": 1, "pseudo_pairs": 1},
    }  # fmt: skip
