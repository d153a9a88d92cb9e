"""The demo's audio-text space."""

from pathlib import Path

import torch

from pipeline.demo.audio import FRAMES, RATE, render_sounds
from pipeline.demo.chunks import render_all
from pipeline.demo.params import Pretraining
from pipeline.demo.pretrain.compact import pretrain_compact
from pipeline.demo.scenes import draw
from pipeline.modalities import AUDIO
from pipeline.progress import Progress
from pipeline.spaces.compact.towers import AudioSettings


def pretrain(folder: Path, settings: Pretraining, seed: int, progress: Progress) -> None:
    """Train the audio-text space on scenes of its own and save it to `folder`."""
    scenes = draw(seed, "pretrain-clap", settings.scenes)
    sounds = torch.from_numpy(render_all(render_sounds, scenes, seed, AUDIO))
    tower = AudioSettings(rate=RATE, frames=FRAMES)
    pretrain_compact(folder, scenes, "audio", {AUDIO: (tower, sounds)}, settings, seed, progress)
