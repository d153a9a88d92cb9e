"""Settings of the `evaluate` stage."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings import Modality, Settings


class RetrievalTask(Settings):
    """Cross-modal retrieval between two modalities of an evaluation set, both directions."""

    task: Literal["retrieval"]
    corpus: str = Field(description="Evaluation set that holds both modalities under the same keys.")
    corpora: dict[Modality, str] = Field({}, description="By modality: another corpus to take that modality from.")
    modalities: tuple[Modality, Modality]
    connections: tuple[str, ...] = Field((), description="Connected spaces to measure.")
    through: dict[Modality, str] = Field(
        {}, description="By modality: the frozen space through which it enters, where several embed it."
    )
    space: str = Field("", description="Frozen space measured by itself: a ceiling, or what a connection should keep.")
    baselines: str = Field("", description="Connection whose unpaired data the training-free baselines use.")
    item_separator: str = Field(
        "", description="Keys equal up to its last occurrence show one item (`dog_0`, `dog_1`); empty: equal keys do."
    )

    @property
    def directions(self) -> tuple[str, str]:
        """Names of both directions, the query's modality first."""
        first, second = self.modalities
        return f"{first}->{second}", f"{second}->{first}"

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not (self.connections or self.space or self.baselines):
            raise ValueError("a retrieval task needs `connections`, a `space` or `baselines`")
        if self.modalities[0] == self.modalities[1]:
            raise ValueError("a retrieval task needs two different modalities")
        return self


# One member per kind of task; with the second one this becomes a union discriminated by `task`.
Task = RetrievalTask


class EvaluateSettings(Settings):
    """What is measured."""

    recall_at: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 5, 10)
    bootstrap: int = Field(1000, ge=0, description="Resamples of the items for the 95 % intervals; 0: no intervals.")
    examples: int = Field(12, ge=0, description="Queries per direction whose neighbours are kept.")
    baseline_rows: int = Field(
        100_000, ge=2, description="Rows per store, evenly spread, that the training-free baselines use at most."
    )
    tasks: dict[str, Task]
