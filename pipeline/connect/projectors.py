"""Projectors: the small heads that map one frozen space into the connected space.

The layers and their names are those of C-MCR (arXiv 2305.14381, section 3 and appendix), so that a head of the
published checkpoints loads into these modules after its prefix (``Head_A.``, ``Head_B.``) is removed:

* ``mlp``, between CLIP and CLAP: Linear, BatchNorm, ReLU, Linear, BatchNorm;
* ``linear``, between CLIP and ULIP: Linear, BatchNorm, ReLU.

A new kind of projector is one class and one line in `PROJECTORS`.
"""

import math
from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.errors import UserError
from pipeline.settings import Settings


class ProjectorSpec(Settings):
    """What is needed to build a projector whose weights fit.

    Attributes:
        kind: A key of `PROJECTORS`.
        input: Width D of the frozen space.
        hidden: Width of the hidden layer, where the kind has one.
        dimension: Width E of the connected space.
    """

    kind: str
    input: int = Field(ge=1)
    hidden: int = Field(ge=1)
    dimension: int = Field(ge=1)


class MlpProjector(nn.Module):
    """Linear-BatchNorm-ReLU-Linear-BatchNorm (C-MCR between CLIP and CLAP); ends without an activation."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.net1 = nn.Sequential(_linear(spec.input, spec.hidden), nn.BatchNorm1d(spec.hidden), nn.ReLU(inplace=True))
        self.net2 = nn.Sequential(_linear(spec.hidden, spec.dimension), nn.BatchNorm1d(spec.dimension))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] to unit vectors [B, E]."""
        return normalize(self.net2(self.net1(embeddings)), dim=-1)


class LinearProjector(nn.Module):
    """Linear-BatchNorm-ReLU (C-MCR between CLIP and ULIP); its outputs are not negative."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _linear(spec.input, spec.dimension), nn.BatchNorm1d(spec.dimension), nn.ReLU(inplace=True)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] to unit vectors [B, E]."""
        return normalize(self.net(embeddings), dim=-1)


PROJECTORS: dict[str, Callable[[ProjectorSpec], nn.Module]] = {"mlp": MlpProjector, "linear": LinearProjector}


def build_projector(spec: ProjectorSpec, init: str = "xavier", generator: torch.Generator | None = None) -> nn.Module:
    """Build a projector and initialise it from `generator` alone: no global random state is read or advanced.

    Args:
        spec: Kind and widths.
        init: ``xavier`` (uniform) or ``eye`` for the weights; biases start as in `torch.nn.Linear`.
        generator: Source of the initial weights; a fixed one if None, for weights that are loaded afterwards.

    Raises:
        UserError: Unknown kind or initialisation.
    """
    if spec.kind not in PROJECTORS:
        raise UserError(f"There is no projector kind {spec.kind!r}.", f"Choose one of: {', '.join(PROJECTORS)}.")
    if init not in ("xavier", "eye"):
        raise UserError(f"There is no initialisation {init!r}.", "Choose xavier or eye.")
    generator = generator or torch.Generator().manual_seed(0)
    projector = PROJECTORS[spec.kind](spec)
    for module in projector.modules():
        if isinstance(module, nn.Linear):
            if init == "eye":
                nn.init.eye_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    return projector


def _linear(inputs: int, outputs: int) -> nn.Linear:
    # Made without storage, because the constructor of Linear would draw from the global generator.
    return nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
