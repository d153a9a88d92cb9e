"""Settings of the `train` stage; defaults are those of C-MCR between CLIP and CLAP."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import SHARPEST, Settings


class HeadSettings(Settings):
    """Architecture of projectors."""

    kind: str
    hidden: int
    init: Literal["xavier", "eye"]

    def outputs(self, base: int) -> int:
        """Width of what a projector makes: that of the base, unless its settings name one; `base` is 0 where there is none."""
        return base

    def members(self, sets: int) -> int:
        """Projectors of a mixture over so many sets of pairs; one where there is no mixture."""
        return 1


class ProjectorSettings(HeadSettings):
    """Architecture of one projector per space (C-MCR, section 3)."""

    kind: Literal["mlp", "linear"] = Field(default="mlp", description="Linear-BN-ReLU-Linear-BN, or Linear-BN-ReLU.")
    hidden: int = Field(default=1024, ge=1, description="Width of the hidden layer of `mlp`.")
    dimension: int = Field(default=512, ge=1, description="Width of the connected space.")
    init: Literal["xavier", "eye"] = Field(default="xavier", description="Initial weights.")

    def outputs(self, base: int) -> int:
        """The width that is asked for."""
        return self.dimension


class DecoupledSettings(HeadSettings):
    """Architecture of the projector of a leaf (Ex-MCR, section 3.3); its width is that of the base."""

    kind: Literal["decoupled"] = Field(
        default="decoupled", description="A linear layer for the leaf's own modality, then two blocks for both."
    )
    hidden: int = Field(default=1024, ge=1, description="Width of the hidden layer of both blocks.")
    init: Literal["xavier", "eye"] = Field(
        default="xavier", description="Initial weights of the blocks; the linear layer starts as the identity."
    )


class ScheduleSettings(Settings):
    """Projectors, steps of the optimiser and semantic completion, which all methods share."""

    projector: HeadSettings
    epochs: int = Field(default=36, ge=1)
    batch_size: int = Field(
        default=10240, ge=2, description="Pairs per step; the last partial batch of an epoch is dropped."
    )
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak of the cosine schedule.")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps in which the learning rate rises linearly to its peak."
    )
    noise_variance: float = Field(
        default=0.004, ge=0, description="Variance per dimension of the semantic completion noise at 512 dimensions."
    )
    noise_scaling: Literal["none", "dimension"] = Field(
        default="none", description="`dimension` keeps the norm of the noise: variance x 512 / D."
    )
    batch_statistics: Literal["joint", "separate"] = Field(
        default="joint",
        description="BatchNorm sees both inputs of a projector in one forward pass, or one after the other.",
    )
    checkpoint_every: int = Field(
        default=1, ge=1, description="Epochs between checkpoints; a killed run loses at most this much."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Precision of the factors of products in layers and losses; weights, sums, statistics and losses are in fp32. `auto` is bf16 on a "
        "GPU that has it, and fp32 on a CPU.",
    )
    compile: bool = Field(
        default=False,
        description="Fuse the operations of a step with torch.compile. It needs a C++ compiler, takes a while at the start, and "
        "rounds last bits differently; the log says where it fails, and the step then runs uncompiled.",
        exclude_if=lambda compile: not compile,  # earlier versions did not know it
    )


class AveragedSettings(ScheduleSettings):
    """What methods need whose pseudo-partners are averages."""

    intra_weight: float = Field(default=0.1, ge=0, description="Weight of the intra-MCR alignment (lambda).")
    intra_norm: Literal["l2", "squared"] = Field(
        default="l2", description="Distance in the intra-MCR alignment, or its square."
    )
    renormalise_pseudo: bool = Field(
        default=False, description="Normalise the aggregated embedding before noise is added."
    )
    tables: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="Type of the pairs in memory; batches are fp32. 16 bits halve the memory "
        "and round each number, by a relative 5e-4 in fp16 and 4e-3 in bf16.",
    )


class TrainSettings(AveragedSettings):
    """Objective and schedule of C-MCR and the oracle. Values that the paper leaves unsure are settings."""

    projector: ProjectorSettings = ProjectorSettings()
    temperature_overlap: float = Field(
        default=0.01, ge=SHARPEST, description="InfoNCE temperature of the overlapping modality (tau 2)."
    )
    temperature_pseudo: float = Field(
        default=0.01,
        ge=SHARPEST,
        description="InfoNCE temperature of the pseudo-pairs (tau 3), or of the oracle's true pairs.",
    )
    overlap_weight: float = Field(default=1.0, ge=0)
    pseudo_weight: float = Field(default=1.0, ge=0)


class CouplingTrainSettings(ScheduleSettings):
    """Objective and schedule of method coupling; defaults are those that worked in the demo world."""

    projector: ProjectorSettings = ProjectorSettings()
    temperature_overlap: float = Field(
        default=0.05, ge=SHARPEST, description="InfoNCE temperature of the overlapping modality."
    )
    temperature_pseudo: float = Field(
        default=0.15,
        ge=SHARPEST,
        description="InfoNCE temperature of the coupled samples; some partners are wrong, so not sharp.",
    )
    overlap_weight: float = Field(default=0.5, ge=0)
    pseudo_weight: float = Field(default=1.0, ge=0)


class LeafCouplingTrainSettings(CouplingTrainSettings):
    """Objective and schedule of a leaf of method excoupling; defaults are those that worked in the demo world."""

    projector: DecoupledSettings = DecoupledSettings()  # type: ignore[assignment]
    temperature_pseudo: float = Field(
        default=0.03, ge=SHARPEST, description="InfoNCE temperature of the coupled samples."
    )
    overlap_weight: float = Field(default=0.3, ge=0)


class LinkTerms(Settings):
    """What one link adds to the loss of a joint training."""

    weight: float = Field(default=1.0, ge=0, description="Weight of the link.")
    overlap_weight: float = Field(
        default=0.5, ge=0, description="Weight, within the link, of the overlapping modality."
    )
    temperature_overlap: float = Field(
        default=0.1, ge=SHARPEST, description="InfoNCE temperature of the overlapping modality."
    )
    temperature_pseudo: float = Field(
        default=0.1, ge=SHARPEST, description="InfoNCE temperature of the coupled samples."
    )
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of each batch that the link takes; a link of little weight costs less with half of it.",
        exclude_if=lambda share: share == 1,  # earlier versions did not know it
    )


class JointTrainSettings(ScheduleSettings):
    """Objective and schedule of method joint_coupling; defaults are those that worked in the demo world."""

    projector: ProjectorSettings = ProjectorSettings()
    links: dict[str, LinkTerms] = Field(default={}, description="By link: its terms, where the defaults do not fit.")

    def for_link(self, link: str) -> LinkTerms:
        """Weights, temperatures and share of the link called `link`."""
        return self.links.get(link, LinkTerms())


class TextMEProjectorSettings(HeadSettings):
    """Architecture of the projector of a leaf of TextME; its width is that of the anchor."""

    kind: Literal["mlp_gelu"] = Field(default="mlp_gelu", description="Linear-BN-GELU-Linear-BN.")
    hidden: int = Field(default=1024, ge=1, description="Width of the hidden layer; the authors take twice the leaf's.")
    init: Literal["xavier", "eye"] = Field(default="xavier", description="Initial weights.")


class TextMESettings(ScheduleSettings):
    """Objective and schedule of a leaf of TextME; defaults are those of the authors' configs/default.yaml."""

    projector: TextMEProjectorSettings = TextMEProjectorSettings()
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(
        default=512, ge=2, description="Texts per step; the last partial batch of an epoch is dropped."
    )
    learning_rate: float = Field(default=5e-4, gt=0, description="Peak of the cosine schedule.")
    temperature: float = Field(default=0.07, ge=SHARPEST, description="InfoNCE temperature.")
    easiest: float = Field(
        default=0.1, description="Negatives below this share of the positive's cosine are too easy to count."
    )
    hardest: float = Field(
        default=0.9,
        description="Negatives above this share of the positive's cosine may mean the same and do not count.",
    )


DenseTerm = Literal["leaf_overlap", "leaf_base", "overlap_overlap", "overlap_base"]
DENSE: tuple[DenseTerm, ...] = ("leaf_overlap", "leaf_base", "overlap_overlap", "overlap_base")


class LeafTrainSettings(AveragedSettings):
    """Objective and schedule of a leaf of Ex-MCR. Values that the paper leaves unsure are settings."""

    projector: DecoupledSettings = DecoupledSettings()
    batch_size: int = Field(
        default=4096, ge=2, description="Pairs per step; the last partial batch of an epoch is dropped."
    )
    temperature: float = Field(default=0.05, ge=SHARPEST, description="InfoNCE temperature (tau 2).")
    terms: Annotated[tuple[DenseTerm, ...], Field(min_length=1)] = Field(
        default=DENSE,
        description="InfoNCE terms: what the leaf contributes (its own modality or the overlapping one), and the base's "
        "target (the overlapping modality or its own).",
    )
    dense: Literal["mean", "sum"] = Field(default="mean", description="How the terms are put together.")
    intra_normalise: bool = Field(
        default=False, description="Normalise the output of the linear layer before the intra-MCR distance."
    )
    noise_on_base: bool = Field(default=True, description="Add semantic completion noise to the base's targets too.")


class MixtureSettings(HeadSettings):
    """Architecture of the projectors of a leaf of FreeBind; their width is that of the base."""

    kind: Literal["mixture"] = Field(
        default="mixture",
        description="Linear-BN-ReLU-Linear-BN for every choice of sets of pairs, seven of three; their outputs are averaged.",
    )
    hidden: int = Field(default=2048, ge=1, description="Width of the hidden layer; that of the authors.")
    init: Literal["xavier", "eye"] = Field(default="xavier", description="Initial weights.")

    def members(self, sets: int) -> int:
        """One for each choice of at least one set."""
        return 2**sets - 1


class FreeBindSettings(ScheduleSettings):
    """Objective and schedule of a leaf of FreeBind. Its authors published no training; all but the width is Ex-MCR's."""

    projector: MixtureSettings = MixtureSettings()
    batch_size: int = Field(
        default=4096, ge=2, description="Pairs per step and projector; the last partial batch of an epoch is dropped."
    )
    temperature: float = Field(default=0.05, ge=SHARPEST, description="InfoNCE temperature.")


class BridgeTrainSettings(Settings):
    """Nothing to set: nothing is trained."""


class ImportSettings(Settings):
    """Projectors that others trained; of leaves, each names its own file."""

    file: str = Field(default="", description="The published file, such as data/published/clap_clip.pt.")
    layout: str = Field(
        default="",
        description="What it holds: clap_clip, ulip_clip, ex_clap or ex_ulip; by default what its name says.",
    )
