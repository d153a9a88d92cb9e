"""A connection: two spaces joined by one method over an overlapping modality."""

from typing import Literal

from pydantic import Field

from pipeline.retrieve.settings import Memory, RetrieveSettings
from pipeline.settings import Modality, Settings
from pipeline.train.settings import TrainSettings


class Connection(Settings):
    """Which spaces, joined by which modality, with which unpaired data."""

    method: Literal["cmcr", "oracle"] = Field(
        description="C-MCR; or the oracle, which is trained on true pairs and bounds what any method can reach."
    )
    spaces: tuple[str, str]
    overlap: Modality | None = Field(None, description="Modality that both spaces embed (C-MCR).")
    queries: tuple[str, ...] = Field(
        (), description="Corpora of the overlapping modality (C-MCR); true pairs (oracle)."
    )
    memories: dict[str, Memory] = Field(description="By space: what its pseudo-partners are made from.")
    retrieve: RetrieveSettings
    train: TrainSettings
