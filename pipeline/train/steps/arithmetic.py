"""In which precision a training multiplies."""

import torch

from pipeline.precision import dtype_of, multiplies


def resolved(precision: str, device: str | torch.device) -> str:
    """The precision that `precision`, a setting of the training, is on `device`.

    ``auto`` is bf16 on a GPU that multiplies it at full rate, where a step in fp32 takes several times as long, and fp32
    elsewhere.
    """
    place = torch.device(device)
    if precision != "auto":
        return precision
    if place.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        return "fp32"
    return "bf16" if multiplies(place, dtype_of("bf16")) else "fp32"


def layers_in(precision: str, device: torch.device) -> torch.autocast:
    """Within it layers multiply in `precision`. In bf16 those are the factors of products and what a layer returns; weights,
    the state of the optimiser, statistics of BatchNorm, lengths and losses are float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
