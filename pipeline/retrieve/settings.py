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
