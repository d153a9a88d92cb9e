"""The place where a space computes."""

from typing import Any

from pipeline.errors import UserError


def check_device(device: Any) -> None:
    """Refuse a `device` that torch does not know or cannot use here.

    Raises:
        UserError: It is one of these.
    """
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, TypeError) as error:
        said = str(error).partition("\n")[0].partition(". ")[0].rstrip(".!")
        raise UserError(
            f"The device {str(device)!r} cannot be used: {said}.", "Use cpu, or cuda on a machine with an NVIDIA GPU."
        ) from error
