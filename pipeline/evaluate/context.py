"""What every task may use."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.sources import ConnectionData, Folders
from pipeline.progress import Progress


@dataclass(frozen=True)
class Context:
    """What every task may use."""

    settings: EvaluateSettings
    folders: Folders
    connections: Mapping[str, ConnectionData]
    seed: int
    progress: Progress
    device: str = "cpu"
