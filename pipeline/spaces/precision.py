"""The number formats that a space can compute in."""

import torch

from pipeline.errors import UserError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: str) -> torch.dtype:
    """The type of weights and activations that `precision` names.

    Raises:
        UserError: There is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision {precision!r}.", f"Choose one of: {', '.join(PRECISIONS)}.")
    return PRECISIONS[precision]
