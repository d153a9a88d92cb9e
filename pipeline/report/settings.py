"""Settings of the `report` stage."""

from pydantic import Field

from pipeline.settings import Settings


class ReportSettings(Settings):
    """What the page shows."""

    title: str = "A connected space"
    examples: int = Field(8, ge=0, description="Retrieval examples per direction.")
    pseudo_pairs: int = Field(8, ge=0, description="Pseudo-pairs per connection.")
