"""Forward pass, losses and the way back of a step in fewer and larger operations, written by torch.compile (TorchInductor).

The optimiser, the draws and the kernels of InfoNCE are not compiled: what is drawn is what an uncompiled step draws.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.precision import multiplying
from pipeline.train.objective import DrawsFirst, Objective
from pipeline.train.ranks.together import Ranks
from pipeline.train.steps.arithmetic import layers_in

log = logging.getLogger(__name__)

# Nothing that decides last bits is chosen by measured time, which differs from run to run.
OPTIONS: dict[str, Any] = {"deterministic": True}

Terms = Callable[[Mapping[str, nn.Module], Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]


def compiled(
    objective: Objective, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], precision: str, among: Ranks
) -> Terms | None:
    """`objective` compiled for batches like `batch`, and tried on it in both directions; projectors are as before afterwards.

    None where that is not possible, for which the log gives the reason: compilers are missing or fail in many ways.

    Raises:
        torch.OutOfMemoryError: A step does not fit.
    """
    if not isinstance(objective, DrawsFirst):
        _say(f"{type(objective).__name__} draws while it computes")
        return None
    if not among.alone:
        _say("several ranks divide it")
        return None
    buffers = [buffer for projector in projectors.values() for buffer in projector.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says to its own developers
            terms = _compiled(objective)
            _try(terms, projectors, batch, precision)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        _say(f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no reason given')}")
        return None
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        for projector in projectors.values():
            projector.zero_grad(set_to_none=True)
    return terms


def _compiled(objective: DrawsFirst) -> Terms:
    # Functions compiled for earlier links count towards a limit of torch on versions of a function.
    torch.compiler.reset()
    # The number of threads decides the order of additions.
    options = {**OPTIONS, "cpp.threads": torch.get_num_threads()}
    fused = torch.compile(objective.terms_of, fullgraph=True, dynamic=False, options=options)

    def terms(
        projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        return fused(projectors, batch, objective.draw(batch, generator))

    return terms


@multiplying()
def _try(terms: Terms, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], precision: str) -> None:
    device = next(iter(batch.values())).device
    with layers_in(precision, device):
        found = terms(projectors, batch, torch.Generator(device))
    torch.autograd.backward(found["loss"])


def _say(reason: str) -> None:
    log.warning(
        "The step of the training cannot be compiled (%s); it runs uncompiled, which is slower on a GPU.", reason
    )
