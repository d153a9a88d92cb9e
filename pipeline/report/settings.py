"""Settings of the `report` stage."""

from pydantic import Field

from pipeline.settings import Settings


class ReportSettings(Settings):
    """What the page shows."""

    title: str = "A connected space"
    examples: int = Field(6, ge=0, description="Retrieval examples per direction.")
    pseudo_pairs: int = Field(6, ge=0, description="Pseudo-pairs per connection.")
    neighbours: int = Field(5, ge=1, description="Neighbours shown per example.")
    media_kilobytes: int = Field(
        4000, ge=0, description="Budget for pictures and sounds; what does not fit is shown smaller or named only."
    )
