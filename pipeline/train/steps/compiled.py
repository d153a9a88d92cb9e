"""Forward pass, losses and the way back of a step in fewer and larger operations, written by torch.compile (TorchInductor).

The optimiser, the draws and the kernels of InfoNCE are not compiled: what is drawn is what an uncompiled step draws.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import TryAgainError
from pipeline.files.os_errors import errno_of, explained
from pipeline.precision import multiplying
from pipeline.train.objective import DrawsFirst, Objective
from pipeline.train.ranks.together import Ranks
from pipeline.train.steps.arithmetic import layers_in

# Nothing that decides last bits is chosen by measured time, which differs from run to run.
OPTIONS: dict[str, Any] = {"deterministic": True}

LossTerms = Callable[[Mapping[str, nn.Module], Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class NotCompiled:
    """Why a step runs uncompiled.

    Attributes:
        reason: In words that follow "it cannot be compiled".
        retry: Whether it can succeed later, such as where the disk was full.
    """

    reason: str
    retry: bool = False


def compiled(
    objective: Objective, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], precision: str, among: Ranks
) -> LossTerms | NotCompiled:
    """`objective` compiled for batches like `batch`, and tried on it in both directions; projectors are as before afterwards.

    Compilers are missing or fail in many ways: where it is not possible, the reason.

    Raises:
        torch.OutOfMemoryError: A step does not fit.
    """
    if not isinstance(objective, DrawsFirst):
        return NotCompiled(f"{type(objective).__name__} draws while it computes")
    if not among.alone:
        return NotCompiled("several ranks divide it")
    buffers = [buffer for projector in projectors.values() for buffer in projector.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says to its own developers
            loss_terms = _compiled(objective)
            _try(loss_terms, projectors, batch, precision)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        return _why(error)
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        for projector in projectors.values():
            projector.zero_grad(set_to_none=True)
    return loss_terms


def _compiled(objective: DrawsFirst) -> LossTerms:
    # Functions compiled for earlier links count towards a limit of torch on versions of a function.
    torch.compiler.reset()
    # The number of threads decides the order of additions.
    options = {**OPTIONS, "cpp.threads": torch.get_num_threads()}
    fused = torch.compile(objective.loss_terms, fullgraph=True, dynamic=False, options=options)

    def loss_terms(
        projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        return fused(projectors, batch, objective.draw(batch, generator))

    return loss_terms


@multiplying()
def _try(
    loss_terms: LossTerms, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], precision: str
) -> None:
    device = next(iter(batch.values())).device
    with layers_in(precision, device):
        terms = loss_terms(projectors, batch, torch.Generator(device))
    torch.autograd.backward(terms["loss"])


def _why(error: Exception) -> NotCompiled:
    """A compiler's message begins with its name; what the system refused it is somewhere below."""
    said = next(iter(str(error).strip().splitlines()), "no reason given")
    refused = os.strerror(errno_of(error) or 0) if explained(error) else ""
    more = f": {refused}" if refused not in said else ""
    return NotCompiled(f"{type(error).__name__}: {said}{more}", isinstance(explained(error), TryAgainError))
