"""Settings of the `retrieve` stage."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Modality, Settings


class Memory(Settings):
    """The unpaired embeddings of one space that pseudo-partners are made from."""

    modality: Modality
    corpora: Annotated[tuple[str, ...], Field(min_length=1)]


class RetrieveSettings(Settings):
    """How a query becomes a pseudo-partner."""

    temperature: float = Field(0.01, gt=0, description="Softmax temperature over the memory (tau 1 of both papers).")
    search: Literal["exact", "flat", "ivf"] = Field(
        "exact", description="Softmax over the whole memory, or over the top k found by a FAISS index."
    )
    top_k: int = Field(128, ge=1, description="Neighbours kept by `flat` and `ivf`.")
    ivf_lists: int = Field(1024, ge=1, description="Cells of the IVF index.")
    ivf_probes: int = Field(16, ge=1, description="Cells that a query visits.")
    control: Literal["none", "shuffled_overlap", "random_partners"] = Field(
        "none", description="Negative control: break the bridge between the spaces, or the pseudo-pairs."
    )


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
