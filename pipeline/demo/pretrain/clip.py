"""The demo's image-text space."""

from pathlib import Path

import torch

from pipeline.demo.chunks import render_all
from pipeline.demo.image import SIDE, render_images
from pipeline.demo.params import Pretraining
from pipeline.demo.pretrain.compact import pretrain_compact
from pipeline.demo.scenes import draw
from pipeline.modalities import IMAGE
from pipeline.progress import Progress
from pipeline.spaces.compact.towers import ImageSettings


def pretrain(folder: Path, settings: Pretraining, seed: int, progress: Progress) -> None:
    """Train the image-text space on scenes of its own and save it to `folder`."""
    scenes = draw(seed, "pretrain-clip", settings.scenes)
    pictures = torch.from_numpy(render_all(render_images, scenes, seed, IMAGE)).permute(0, 3, 1, 2).contiguous()
    tower = ImageSettings(side=SIDE)
    pretrain_compact(folder, scenes, "image", {IMAGE: (tower, pictures)}, settings, seed, progress)
