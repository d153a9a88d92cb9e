"""Settings of the `retrieve` stage."""

from typing import Annotated, Literal, Self, cast

from pydantic import Field, model_validator

from pipeline.settings import SHARPEST, Settings


class SearchSettings(Settings):
    """How a memory is searched, whatever becomes of what is found."""

    search: Literal["exact", "flat", "ivf"] = Field(
        "exact", description="Softmax over the whole memory, or over the top k found by a FAISS index."
    )
    top_k: int = Field(128, ge=1, description="Neighbours kept by `flat` and `ivf`.")
    ivf_lists: int = Field(1024, ge=1, description="Cells of the IVF index.")
    ivf_probes: int = Field(16, ge=1, description="Cells that a query visits.")
    control: Literal["none", "shuffled_overlap", "random_partners"] = Field(
        "none", description="Negative control: break the bridge between the spaces, or the pseudo-pairs."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Precision of the factors of products; sums are in fp32. `auto` is fp16 on a GPU and fp32 on a CPU.",
    )


class RetrieveSettings(SearchSettings):
    """How a query becomes a pseudo-partner."""

    temperature: float = Field(
        0.01, ge=SHARPEST, description="Softmax temperature over the memory (tau 1 of both papers)."
    )


class Softness(Settings):
    """How flat a softmax is: its temperature, or the effective number of items that it is to spread over."""

    temperature: float | None = Field(None, ge=SHARPEST, description="The temperature itself.")
    perplexity: float | None = Field(
        None, gt=1, description="Exponential of the mean entropy; the temperature is solved for on a sample."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.temperature is None) == (self.perplexity is None):
            raise ValueError("give either a temperature or a perplexity")
        return self

    def changed_by(self, changes: Settings | None) -> Self:
        """The changes: a temperature takes the place of a perplexity, and the other way round."""
        return self if changes is None else cast(Self, changes)


class CouplingRetrieveSettings(SearchSettings):
    """How real samples of two memories become partners through their profiles over the overlapping modality."""

    profile: Softness = Field(
        Softness(perplexity=40), description="Softmax of a sample over the overlapping modality (t 1)."
    )
    partner: Softness = Field(Softness(perplexity=15), description="Softmax of a sample over its partners (t 2).")
    draws: int = Field(32, ge=1, description="Partners kept per sample; training picks another one at every step.")


class WitnessedRetrieveSettings(CouplingRetrieveSettings):
    """Settings of coupling, and of a third space as a witness."""

    witness: Softness = Field(Softness(perplexity=80), description="Softmax of a sample over the witness's texts.")
    witness_weight: float = Field(0.5, gt=0, description="Weight of the witness in the profiles and in the score.")


class TextSettings(SearchSettings):
    """The overlapping modality in both spaces; nothing is searched, so nothing of a search can be set."""

    search: Literal["exact"] = Field("exact", description="Nothing is looked up.")
    precision: Literal["fp32"] = Field("fp32", description="What is multiplied.")
    control: Literal["none", "shuffled_overlap"] = Field(
        "none", description="Negative control: break the bridge between the spaces."
    )


class BridgeRetrieveSettings(TextSettings):
    """How a sample is described by the overlapping modality: its profile is over all texts."""

    profile: Softness = Field(Softness(perplexity=40), description="Softmax of a sample over the overlapping modality.")


class LeafRetrieveSettings(RetrieveSettings):
    """How the pseudo-pairs of a leaf of Ex-MCR are made."""

    sets: Annotated[tuple[Literal["overlap", "leaf", "base"], ...], Field(min_length=1)] = Field(
        ("overlap", "leaf", "base"),
        description="Whose samples are queries: of the overlapping modality, of the leaf's memory, of the base's; "
        "training uses all sets together.",
    )
    renormalise_chain: bool = Field(
        False, description="Normalise the averaged overlapping embedding before it queries the second memory."
    )
    control: Literal["none", "shuffled_overlap"] = Field(
        "none", description="Negative control: break the bridge between the base and the leaf."
    )
