"""How much memory a step of a training takes."""

import torch

from pipeline.connect.config import ConnectionConfig
from pipeline.train.losses import bytes_of_scores
from pipeline.train.objective import DrawsFirst, Objective
from pipeline.train.ranks.together import Ranks
from pipeline.train.settings import ScheduleSettings


def step_bytes(
    config: ConnectionConfig, objective: Objective, settings: ScheduleSettings, device: str, among: Ranks
) -> int:
    """About how much memory a step takes: what layers keep for the way back, which ranks divide, noise, and scores."""
    widths = [spec.input + 2 * spec.hidden + 3 * spec.dimension for spec in config.projectors.values()]
    rows = -(-max(2, len(objective.columns)) * settings.batch_size // among.size)
    noise = 4 * settings.batch_size * objective.noise_width if isinstance(objective, DrawsFirst) else 0
    return 8 * rows * max(widths) + noise + bytes_of_scores(settings.batch_size, torch.device(device).type)
