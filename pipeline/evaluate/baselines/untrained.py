"""The connection before its first step: what the architecture gives away by itself (nothing, if all is well)."""

import numpy as np
import torch

from pipeline.connect import build_projector
from pipeline.evaluate.baselines.link_data import LinkData
from pipeline.evaluate.views import Scorer, Views
from pipeline.hashing import seed_from


def untrained(data: LinkData) -> Scorer | None:
    """Projectors of the trained ones' architecture with random weights; None where there are none."""
    if not any(data.projectors):
        return None
    seeds = [seed_from(data.seed, "untrained", side) for side in range(2)]
    projectors = [
        build_projector(spec, data.init, torch.Generator().manual_seed(seed)).eval() if spec else torch.nn.Identity()
        for spec, seed in zip(data.projectors, seeds, strict=True)
    ]

    def score(first: np.ndarray, second: np.ndarray) -> Views:
        with torch.inference_mode():
            sides = [
                projector(torch.as_tensor(rows, dtype=torch.float32)).numpy()
                for projector, rows in zip(projectors, (first, second), strict=True)
            ]
        return Views((sides[0], sides[1]))

    return score
