"""A file that says which settings of which connections are changed, one row each."""

from typing import Annotated, Any

from pydantic import Field

from pipeline.settings import Settings

# A title for people, and part of a folder's name.
RowName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9 ,.()=+_-]*$", max_length=100)]


class Ablation(Settings):
    """Rows of one connection, measured by one metric of one task."""

    task: str = Field(description="Task of `evaluate.tasks` in params.yaml.")
    metric: str = Field("R@10", description="What the rows are compared by.")
    direction: str = Field("mean", description="Direction of the metric.")
    rows: Annotated[dict[RowName, dict[str, Any]], Field(min_length=1)] = Field(
        description="By name: what is changed of the connection's `train` (and of `retrieve`, only which `sets` are used)."
    )


class Sweep(Settings):
    """What is trained again with single settings changed."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        description="Seeds of training: initial weights, order and noise. Data and pseudo-pairs stay."
    )
    connections: Annotated[dict[str, Ablation], Field(min_length=1)]
