"""Where the evaluation reads and writes."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.links import store_folder


@dataclass(frozen=True)
class Folders:
    """What the evaluation reads (embeddings, models, pairs, annotations) and writes (metrics)."""

    embeddings: Path
    models: Path
    pairs: Path
    metrics: Path
    annotations: Path | None = None

    def store(self, space: str, corpus: str, modality: str) -> Path:
        """The embedding store of one modality of a corpus."""
        return store_folder(self.embeddings, space, corpus, modality)
