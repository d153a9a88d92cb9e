"""Whether the weights of a space are numbers at all."""

import math

from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.spaces.protocol import Space, SpaceSpec


def check_finite_weights(space: Space, spec: SpaceSpec) -> None:
    """Refuse a space with a weight that is not finite: a single one can spoil every embedding.

    Every model that the space keeps as an attribute is looked through.

    Raises:
        UserError: One of its weights is NaN or infinite.
    """
    for model in vars(space).values():
        name = _not_finite(model) if isinstance(model, nn.Module) else ""
        if name:
            half = " Precision fp16 ends at 65504: try bf16 or fp32." if spec.precision == "fp16" else ""
            raise UserError(
                f"The weights {spec.checkpoint!r} are not all finite: {name} holds NaN or infinity.",
                f"Fetch them again, and compare their sha256 with the published one.{half}",
            )


def _not_finite(model: nn.Module) -> str:
    """Name of the first parameter that is not finite, or of a buffer with NaN; empty if there is none.

    A buffer may be a mask, which is minus infinity where nothing is to be seen.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not _finite(parameter):
            return name
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not _finite(buffer) and bool((buffer.isnan() | buffer.isposinf()).any()):
            return name
    return ""


def _finite(tensor: Tensor) -> bool:
    values = tensor.detach()
    if values.is_meta:  # shapes without numbers
        return True
    # A sum is quick and is never finite if one of its terms is not; it can also overflow.
    return math.isfinite(float(values.float().sum())) or bool(values.isfinite().all())
