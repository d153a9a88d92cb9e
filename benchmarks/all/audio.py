"""CLAP of the published shape with random weights: whole jobs, the library's list of files, and the models alone.

    python -m benchmarks.all.audio --json FILE

Clips of 10 s at 48 kHz in FLAC, on a CPU. The library's model takes a spectrogram by convolution, ours by FFT; in bf16 a job has
weights of 16 bits.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.encode import batches_of
from pipeline.allocator import keep_freed_memory
from pipeline.encode.decoders import AUTO
from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.precision import multiplying
from pipeline.progress import Silent
from pipeline.spaces import load_space
from pipeline.spaces.protocol import unit_rows
from pipeline.store.parts.folder import PartFolder
from pipeline.store.shards import SHARDS, ShardSample, write_shard
from tests.spaces.laion_clap.make_tokenizers import offline_hub
from tests.spaces.laion_clap.test_laion_clap import Pair

CLIPS, BATCH, RATE = 48, 8, 48_000


def main() -> None:
    """All ways in turns, after one that warms up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    keep_freed_memory()  # as the stage does; the peers gain as much
    with tempfile.TemporaryDirectory() as name, offline_hub(Path(name)):
        folder = Path(name)
        pair = Pair(folder, fusion=False)
        clips = [clip(number) for number in range(CLIPS)]
        files = []
        for number, content in enumerate(clips):
            files.append(folder / f"{number}.flac")
            files[-1].write_bytes(content)
        shards = make_shards(folder / "shards", clips)
        batches = batches_of([pair.ours.preprocess("audio", content) for content in clips], CLIPS, BATCH)
        settings, stores = EncodeSettings(BATCH, 2, 0.0, "cpu", AUTO), (folder / f"store{number}" for number in count())
        short = replace(pair.spec, precision="bf16")
        spaces = {"whole": (pair.ours, pair.spec), "whole, bf16": (load_space(short), short)}

        def job(way: str) -> object:
            space, spec = spaces[way]
            return encode_corpus(space, "clap", spec, shards, next(stores), settings, Silent())

        ways: dict[str, Callable[[], object]] = {
            "library's model": lambda: [embedded(pair.theirs.model, batch) for batch in batches],
            "bare": lambda: [pair.ours.encode("audio", batch) for batch in batches],
            **{way: lambda way=way: job(way) for way in spaces},
            "library": lambda: [
                pair.theirs.get_audio_embedding_from_filelist([str(path) for path in files[first : first + BATCH]])
                for first in range(0, CLIPS, BATCH)
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(3):
            for way, run in ways.items():
                start = time.perf_counter()
                with torch.inference_mode():
                    run()
                if turn:
                    seconds[way].append(time.perf_counter() - start)
    rates = {way: CLIPS / statistics.median(each) for way, each in seconds.items()}
    given.json.write_text(json.dumps({"clips": CLIPS, "rates": rates, "seconds": seconds}, indent=1) + "\n")


@multiplying()
def embedded(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """What the library's model makes of waves [B, 480000]."""
    return unit_rows(model.audio_projection(model.encode_audio({"waveform": batch}, device="cpu")["embedding"]))


def clip(number: int) -> bytes:
    """10 s of noise in one ear."""
    buffer = io.BytesIO()
    wave = np.random.default_rng(number).uniform(-0.5, 0.5, 10 * RATE)
    soundfile.write(buffer, wave, RATE, format="FLAC")
    return buffer.getvalue()


def make_shards(folder: Path, clips: list[bytes]) -> Path:
    """The clips in one shard."""
    shards = PartFolder(folder, SHARDS, {"modalities": ["audio"]})
    keys = [f"{number:08d}" for number in range(len(clips))]
    samples = [ShardSample(key, {"flac": content}) for key, content in zip(keys, clips, strict=True)]
    shards.commit("00000.tar", "0", keys, [], lambda path: write_shard(path, samples))
    shards.finish(0)
    return folder


if __name__ == "__main__":
    main()
