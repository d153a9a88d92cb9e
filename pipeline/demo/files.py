"""One chunk of scenes as files of the kinds that users have."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from pipeline.demo.audio import RATE, render_sounds
from pipeline.demo.captions import write_captions
from pipeline.demo.chunks import chunk_at, chunks
from pipeline.demo.factors import FACTORS
from pipeline.demo.image import render_images
from pipeline.demo.points import render_points
from pipeline.demo.scenes import Scenes
from pipeline.hashing import seed_from

# What stands in each corpus of single files, by extension.
KINDS: dict[str, tuple[str, ...]] = {
    "photos": ("png",),
    "sounds": ("flac",),
    "shapes": ("npy",),
    "heldout": ("png", "flac", "npy", "txt"),
    "pairs": ("png", "flac"),
}
# Of the captions this share comes from those who see, who hear, and who touch.
STYLES = {"image": 0.42, "audio": 0.42, "point": 0.16}
# Many caption-like prompts for each shape: one bare prompt is far from anything that the spaces have read.
PROMPTS = 48


def write_chunk(folder: Path, scenes: Scenes, seed: int, start: int) -> None:
    """Write the files ``<key>.<extension>`` of the chunk that begins at `start` to `folder`, which exists."""
    for extension in KINDS[scenes.corpus]:
        chunk, generator = chunk_at(scenes, seed, extension, start)
        for key, payload in zip(chunk.keys, PAYLOADS[extension](chunk, generator), strict=True):
            (folder / f"{key}.{extension}").write_bytes(payload)


def caption_lines(scenes: Scenes, seed: int) -> list[tuple[str, str]]:
    """Key and caption of each scene, in the styles and shares of `STYLES`."""
    lines: list[tuple[str, str]] = []
    bounds = np.round(np.cumsum([0.0, *STYLES.values()]) * len(scenes)).astype(int)
    for style, start, stop in zip(STYLES, bounds[:-1], bounds[1:], strict=True):
        for chunk, generator in chunks(scenes.part(start, stop), seed, style):
            lines += zip(chunk.keys, write_captions(chunk, style, generator), strict=True)
    return lines


def prompt_lines(seed: int) -> list[tuple[str, str]]:
    """Key ``<shape>-<n>`` and text of the prompts for each shape; what else they say is drawn at random."""
    lines: list[tuple[str, str]] = []
    for level, shape in enumerate(FACTORS["shape"]):
        generator = np.random.default_rng(seed_from(seed, "prompts", shape))
        levels = {factor: generator.integers(len(names), size=PROMPTS) for factor, names in FACTORS.items()}
        levels["shape"] = np.full(PROMPTS, level)
        keys = tuple(f"{shape}-{number:02d}" for number in range(PROMPTS))
        lines += zip(keys, write_captions(Scenes("prompts", keys, levels), "prompt", generator), strict=True)
    return lines


def _png(scenes: Scenes, generator: np.random.Generator) -> list[bytes]:
    payloads = []
    for picture in render_images(scenes, generator):
        buffer = io.BytesIO()
        # Sensor noise does not compress: the fastest level costs a few per cent of size.
        Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
        payloads.append(buffer.getvalue())
    return payloads


def _flac(scenes: Scenes, generator: np.random.Generator) -> list[bytes]:
    payloads = []
    for sound in render_sounds(scenes, generator):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, RATE, format="FLAC", subtype="PCM_16")
        payloads.append(buffer.getvalue())
    return payloads


def _npy(scenes: Scenes, generator: np.random.Generator) -> list[bytes]:
    payloads = []
    for cloud in render_points(scenes, generator):
        buffer = io.BytesIO()
        np.save(buffer, cloud, allow_pickle=False)
        payloads.append(buffer.getvalue())
    return payloads


def _txt(scenes: Scenes, generator: np.random.Generator) -> list[bytes]:
    return [caption.encode() for caption in write_captions(scenes, "full", generator)]


PAYLOADS: dict[str, Callable[[Scenes, np.random.Generator], list[bytes]]] = {
    "png": _png,
    "flac": _flac,
    "npy": _npy,
    "txt": _txt,
}
