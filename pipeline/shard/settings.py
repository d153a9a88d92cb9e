"""Settings of the `shard` stage."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Modality, Settings


class CorpusSettings(Settings):
    """A corpus: unpaired raw data of one modality, or an evaluation set with several modalities per key."""

    source: str = Field(min_length=1, description="Folder of files, captions file (.jsonl, .txt), or manifest (.csv, .parquet).")
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    samples_per_shard: int = Field(2048, ge=1, description="Samples in one shard, the unit of work and of resume.")
    duplicates: Literal["error", "first"] = Field(
        "error", description="A key that occurs twice stops the stage, or its first sample is kept and the others reported."
    )


class Limits(Settings):
    """When to stop rather than to go on."""

    max_rejected: float = Field(0.01, ge=0, le=1, description="Largest share of rejected samples with which a stage succeeds.")
