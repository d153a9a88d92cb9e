"""CLAP on the device against the CPU, on tones: its spectrogram is a convolution, and rounds worst for them."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.rows import Step
from pipeline.spaces import load_space
from tests.spaces.laion_clap.make_tokenizers import offline_hub
from tests.spaces.laion_clap.test_laion_clap import Pair, wav

RATE = 48_000


def tones(count: int) -> list[bytes]:
    """Clips of 10 s, each of one pitch."""
    time = np.arange(10 * RATE) / RATE
    return [wav(0.5 * np.sin(2 * np.pi * 110 * 2 ** (number / 3) * time).astype(np.float32)) for number in range(count)]


def main() -> None:
    """Compare in a process that allows TF32, and measure clips per second."""
    step = Step.of_arguments()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    with tempfile.TemporaryDirectory() as folder, offline_hub(Path(folder)):
        pair = Pair(Path(folder), fusion=False)
        cpu = pair.ours
        spaces = {name: load_space(replace(pair.spec, precision=name), step.device) for name in ("fp32", "bf16")}
        sounds = torch.stack([cpu.preprocess("audio", clip) for clip in tones(step.size(16, 2))])
        texts = torch.stack([cpu.preprocess("text", text.encode()) for text in ("a dog barks", "waves break")])
        expected = cpu.encode("audio", sounds)
        for modality, batch in (("audio", sounds), ("text", texts)):
            found = spaces["fp32"].encode(modality, batch)
            cosine = float((found * cpu.encode(modality, batch)).sum(1).min())
            step.at_least(f"CLAP {modality} in fp32: cosine with the CPU's", cosine, 0.99999)
        cosine = float((spaces["bf16"].encode("audio", sounds) * expected).sum(1).min())
        step.at_least("CLAP audio in bf16: cosine with the CPU's", cosine, 0.99)
        many = sounds.repeat(step.size(8, 1), 1)
        for precision, space in spaces.items():
            rate = len(many) / step.seconds(lambda space=space: space.encode("audio", many), step.size(8, 1))
            step.measured(f"CLAP audio in {precision}, batches of {len(many)}", f"{rate:,.1f} clips/s")


if __name__ == "__main__":
    main()
