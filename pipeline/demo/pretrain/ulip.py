"""The demo's point-image-text space."""

from pathlib import Path

import torch

from pipeline.demo.chunks import render_all
from pipeline.demo.image import SIDE, render_images
from pipeline.demo.params import Pretraining
from pipeline.demo.points import POINTS, render_points
from pipeline.demo.pretrain.compact import pretrain_compact
from pipeline.demo.scenes import draw
from pipeline.modalities import IMAGE, POINT
from pipeline.progress import Progress
from pipeline.spaces.compact.space import Settings
from pipeline.spaces.compact.towers import ImageSettings, PointSettings


def pretrain(folder: Path, settings: Pretraining, seed: int, progress: Progress) -> None:
    """Train the point-image-text space on scenes of its own and save it to `folder`."""
    scenes = draw(seed, "pretrain-ulip", settings.scenes)
    pictures = torch.from_numpy(render_all(render_images, scenes, seed, IMAGE)).permute(0, 3, 1, 2).contiguous()
    clouds = torch.from_numpy(render_all(render_points, scenes, seed, POINT))
    data: dict[str, tuple[Settings, torch.Tensor]] = {
        POINT: (PointSettings(points=POINTS), clouds),
        IMAGE: (ImageSettings(side=SIDE), pictures),
    }
    pretrain_compact(folder, scenes, "point", data, settings, seed, progress)
