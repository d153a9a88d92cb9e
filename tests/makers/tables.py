"""The tables of the papers in small: sets whose files can be decoded, and random weights of the published widths."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import soundfile
import torch
from PIL import Image

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, TextSettings
from tests.adopt.test_projectors import published
from tests.makers.miniatures import write
from tests.spaces.open_clip.test_open_clip import TEXT, VISION, save_folder
from tests.spaces.ulip2.test_ulip2 import random_tensors, save

WIDTH = 512  # of all spaces of the papers, and so of their projectors
WORDS = (
    "dog",
    "cat",
    "rain",
    "bell",
    "sound",
    "photo",
    "picture",
    "street",
    "a",
    "of",
    "this",
    "is",
    "the",
    "cloud",
    "bark",
)
TRAINING = {"texts": 40, "images": 24, "sounds": 20, "shapes": 10}


def weights(folder: Path, spaces: set[str]) -> None:
    """Random weights where the recipes have the public ones; CLAP by a small family of the same width."""
    for space in spaces:
        (folder / space).mkdir(parents=True)
    torch.manual_seed(0)
    if "clip" in spaces:
        model = open_clip.CLIP(WIDTH, VISION, TEXT).eval().requires_grad_(False)
        for name, parameter in model.named_parameters():  # as they start, all texts look alike
            if "embedding" in name:
                parameter.normal_()
        save_folder(folder / "clip", model, embed_dim=WIDTH, quick_gelu=True)
    if "clap" in spaces:
        save_compact(folder / "clap", CompactModel(WIDTH, {"text": TextSettings(WORDS), "audio": AudioSettings()}))
    if "ulip" in spaces:
        save(folder / "ulip", random_tensors())


def projectors(folder: Path) -> None:
    """The four files of the authors, with random weights in their layouts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("clap_clip", "ulip_clip", "ex_clap", "ex_ulip"):
        torch.save(published(name), folder / f"{name}.pt")


def picture(number: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    coarse = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((48, 40)).save(buffer, kind)
    return buffer.getvalue()


def sound(number: int) -> bytes:
    buffer = io.BytesIO()
    time = np.arange(6400) / 8000
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * (200 + 40 * number) * time), 8000, format="WAV")
    return buffer.getvalue()


def cloud(number: int, points: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((points, 3)).astype(np.float32)


def put_set(downloads: Path, name: str) -> Path:
    """The miniature of a set with files that can be decoded in the place of those that only look like it."""
    root = write(downloads, name)
    # No file is in two sets, as if it leaked from one to the other.
    base = 1000 * (1 + sum(map(ord, name)) % 97)
    for number, path in enumerate(sorted(each for each in root.rglob("*") if each.is_file()), base):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            path.write_bytes(picture(number))
        elif path.suffix == ".png":
            path.write_bytes(picture(number, "PNG"))
        elif path.suffix == ".wav":
            path.write_bytes(sound(number))
        elif name == "modelnet40" and path.parent != root:
            rows = np.hstack([cloud(number, 9000), cloud(number, 9000)])
            np.savetxt(path, rows, "%.6f", delimiter=",")
    if name == "modelnet40":  # there is a top-5 only among five classes
        with (root / "modelnet40_shape_names.txt").open("a") as file:
            file.write("bathtub\nbed\nbench\nbookshelf\n")
    if (root / "points").is_dir():
        for number, uid in enumerate(("u1", "u3")):
            for path in (root / "points").rglob(f"{uid}.*"):
                path.unlink()
            np.save(root / "points" / f"{uid}.npy", cloud(base + number, 10_000))
    return root


def put_tars(folder: Path, base: int) -> None:
    """Five tars as the organisation clip-benchmark has them on the hub: pictures, and their captions one in each line.

    LAION-AI/CLIP_benchmark at 48de38c, clip_benchmark/datasets/builder.py: `{0..4}.tar` with a picture and its .txt, whose lines
    are the captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for sample in (2 * number, 2 * number + 1):
                text = "\n".join(f"a {WORDS[sample]} and a {WORDS[way]}, {base + sample}" for way in range(5))
                for ending, content in (("webp", picture(base + sample, "WEBP")), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"s{sample:07d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def put_training(raw: Path, corpora: set[str]) -> None:
    """Unpaired data where the recipes have them."""
    for corpus in corpora:
        (raw / corpus).mkdir(parents=True, exist_ok=True)
    for number in range(max(TRAINING.values())):
        if "images" in corpora and number < TRAINING["images"]:
            (raw / "images" / f"i{number}.jpg").write_bytes(picture(number))
        if "sounds" in corpora and number < TRAINING["sounds"]:
            (raw / "sounds" / f"s{number}.wav").write_bytes(sound(number))
        if "shapes" in corpora and number < TRAINING["shapes"]:
            np.save(raw / "shapes" / f"p{number}.npy", cloud(number, 10_000))
    if "texts" in corpora:
        rows = [
            json.dumps(
                {"key": f"t{number}", "text": f"the {WORDS[number % 8]} of a {WORDS[number // 8 % 8]}, {number}"}
            )
            for number in range(TRAINING["texts"])
        ]
        (raw / "texts" / "captions.jsonl").write_text("\n".join(rows))


def put_proposals(frames: Path, table: Path) -> None:
    """Boxes of a detector: three of each picture."""
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x0", "y0", "x1", "y1"])
        for path in sorted(frames.rglob("*.jpg")):
            for box in ((0, 0, 1, 1), (0, 0, 0.5, 0.6), (0.4, 0.3, 1, 1)):
                writer.writerow([path.relative_to(frames).as_posix(), *box])


def small(params: dict[str, Any]) -> None:
    """The recipe with CLAP by the small family, and batches that a few samples fill."""
    if "clap" in params["spaces"]:
        params["spaces"]["clap"] = {"encoder": "compact", "checkpoint": "data/spaces/clap"}
    for connection in params["connections"].values():
        if "epochs" in connection["train"]:
            connection["train"].update(epochs=1, batch_size=8)
    params["evaluate"]["bootstrap"] = 20
