"""From settings in params.yaml to the plain values that the library takes."""

from pipeline.encode.settings import SpaceSettings
from pipeline.spaces.protocol import SpaceSpec


def space_spec(settings: SpaceSettings) -> SpaceSpec:
    """What identifies a space; how it is run (batch size) and how rows are stored stay behind."""
    return SpaceSpec(**settings.model_dump(exclude={"batch_size", "store_as"}))
