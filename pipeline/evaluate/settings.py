"""Settings of the `evaluate` stage."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Settings
from pipeline.shard.settings import Modality


class RetrievalTask(Settings):
    """Cross-modal retrieval between two modalities of an evaluation set, both directions."""

    task: Literal["retrieval"]
    corpus: str
    modalities: tuple[Modality, Modality]
    connections: Annotated[tuple[str, ...], Field(min_length=1)]
    baselines: str = Field("", description="Connection whose stores the training-free baselines use; empty: no baselines.")


class EvaluateSettings(Settings):
    """What is measured."""

    recall_at: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 5, 10)
    bootstrap: int = Field(1000, ge=0, description="Resamples of the queries for the 95 % intervals.")
    examples: int = Field(12, ge=0, description="Queries whose nearest neighbours are kept for the report.")
    tasks: dict[str, RetrievalTask]
