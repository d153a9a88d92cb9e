"""Projectors: the small heads that map one frozen space into the connected space.

The layers and their names are those of C-MCR (arXiv 2305.14381, section 3 and appendix), so that a head of the
published checkpoints loads into these modules after its prefix (``Head_A.``, ``Head_B.``) is removed:

* ``mlp``, between CLIP and CLAP: Linear, BatchNorm, ReLU, Linear, BatchNorm;
* ``mlp_gelu``, of TextME: the same with GELU;
* ``linear``, between CLIP and ULIP: Linear, BatchNorm, ReLU;
* ``mixture``, of FreeBind (arXiv 2405.04883): several ``mlp`` whose unit outputs are averaged and scaled to length one;
* ``decoupled``, of Ex-MCR (arXiv 2310.08884) from a leaf into its base: a linear layer, then two blocks like ``mlp``.

A new kind of projector is one class and one line in `PROJECTORS`.
"""

import math
from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.errors import UserError, choice
from pipeline.settings import Settings


class ProjectorSpec(Settings):
    """What is needed to build a projector whose weights fit.

    Attributes:
        kind: A key of `PROJECTORS`.
        input: Width D of the frozen space.
        hidden: Width of the hidden layer, where the kind has one.
        dimension: Width E of the connected space.
        members: Projectors of a mixture; not written where there is one.
    """

    kind: str
    input: int = Field(ge=1)
    hidden: int = Field(ge=1)
    dimension: int = Field(ge=1)
    members: int = Field(default=1, ge=1, exclude_if=lambda members: members == 1)


class _Block(nn.Module):
    """Linear-BatchNorm-ReLU-Linear-BatchNorm; ends without an activation."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.net1 = nn.Sequential(_linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True))
        self.net2 = nn.Sequential(_linear(hidden, outputs), nn.BatchNorm1d(outputs))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map `embeddings` [B, D] to [B, E], not normalised."""
        outputs: Tensor = self.net2(self.net1(embeddings))
        return outputs


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1; what layers returned in 16 bits is float32 from here on."""
    return normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)


class MlpProjector(_Block):
    """One block (C-MCR between CLIP and CLAP)."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__(spec.input, spec.hidden, spec.dimension)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] to unit vectors [B, E]."""
        return _unit(super().forward(embeddings))


class GeluMlpProjector(MlpProjector):
    """The same block with GELU in place of ReLU (TextME, arXiv 2602.03098)."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__(spec)
        self.net1[2] = nn.GELU()


class _TwoBlocks(nn.Module):
    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.mlp1 = _Block(spec.input, spec.hidden, spec.dimension)
        self.mlp2 = _Block(spec.dimension, spec.hidden, spec.dimension)

    def forward(self, embeddings: Tensor) -> Tensor:
        outputs: Tensor = self.mlp2(self.mlp1(embeddings))
        return outputs


class LinearProjector(nn.Module):
    """Linear-BatchNorm-ReLU (C-MCR between CLIP and ULIP); its outputs are not negative."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _linear(spec.input, spec.dimension), nn.BatchNorm1d(spec.dimension), nn.ReLU(inplace=True)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] to unit vectors [B, E]."""
        return _unit(self.net(embeddings))


class DecoupledProjector(nn.Module):
    """f_l, then f_m: Ex-MCR's way from a leaf space into its base (section 3.3 there).

    f_l (`Head1`, linear, starts as the identity) moves the leaf's own modality onto the overlapping one and so closes
    the gap between them; f_m (`Head2`, two blocks) carries both into the base. The overlapping modality skips f_l.
    """

    IDENTITY = ("Head1",)
    WAYS = ("intra", "inter")  # of its methods, those that rows pass; `forward` goes through both

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.Head1 = _linear(spec.input, spec.input)
        self.Head2 = _TwoBlocks(spec)

    def intra(self, embeddings: Tensor) -> Tensor:
        """f_l: move `embeddings` [B, D] of the leaf's own modality within the leaf space, not normalised."""
        moved: Tensor = self.Head1(embeddings)
        return moved

    def inter(self, embeddings: Tensor) -> Tensor:
        """f_m: project `embeddings` [B, D] of the overlapping modality, or what f_l made, to unit vectors [B, E]."""
        return _unit(self.Head2(embeddings))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] of the leaf's own modality to unit vectors [B, E]."""
        return self.inter(self.intra(embeddings))


class MixtureProjector(nn.Module):
    """The mean direction of several blocks (FreeBind's mixture of projectors)."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.members = nn.ModuleList([MlpProjector(spec) for _ in range(spec.members)])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `embeddings` [B, D] to unit vectors [B, E]."""
        return _unit(torch.stack([member(embeddings) for member in self.members]).mean(0))


PROJECTORS: dict[str, Callable[[ProjectorSpec], nn.Module]] = {
    "mlp": MlpProjector,
    "mlp_gelu": GeluMlpProjector,
    "linear": LinearProjector,
    "mixture": MixtureProjector,
    "decoupled": DecoupledProjector,
}


def build_projector(spec: ProjectorSpec, init: str = "xavier", generator: torch.Generator | None = None) -> nn.Module:
    """Build a projector and initialise it from `generator` alone: no global random state is read or advanced.

    Args:
        spec: Kind and widths.
        init: ``xavier`` (uniform) or ``eye`` for the weights; biases start as in `torch.nn.Linear`. Layers that a
            projector lists in ``IDENTITY`` start as the identity in any case.
        generator: Source of the initial weights; a fixed one if None, for weights that are loaded afterwards.

    Raises:
        UserError: Unknown kind or initialisation.
    """
    if spec.kind not in PROJECTORS:
        raise UserError(f"There is no projector kind {spec.kind!r}.", choice(spec.kind, PROJECTORS))
    if init not in ("xavier", "eye"):
        raise UserError(f"There is no initialisation {init!r}.", "Choose xavier or eye.")
    generator = generator or torch.Generator().manual_seed(0)
    projector = PROJECTORS[spec.kind](spec)
    identity = getattr(projector, "IDENTITY", ())
    for name, module in projector.named_modules():
        if isinstance(module, nn.Linear):
            if init == "eye" or name in identity:
                nn.init.eye_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    return projector


def _linear(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng(devices=()):  # its constructor draws weights that are not used
        return nn.Linear(inputs, outputs)
