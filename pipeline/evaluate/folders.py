"""Where the evaluation reads and writes."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.links import Link, store_folder


@dataclass(frozen=True)
class Folders:
    """What the evaluation reads (embeddings, models, pairs, annotations) and writes (metrics).

    Attributes:
        used: Kind and path of everything that was asked for; what was measured is bound to it.
    """

    embeddings: Path
    models: Path
    pairs: Path
    metrics: Path
    annotations: Path | None = None
    used: set[tuple[str, str]] = field(default_factory=set, compare=False)

    def store(self, space: str, corpus: str, modality: str) -> Path:
        """The embedding store of one modality of a corpus."""
        path = store_folder(self.embeddings, space, corpus, modality)
        self.used.add(("embeddings", path.relative_to(self.embeddings).as_posix()))
        return path

    def model(self, connection: str) -> Path:
        """What a connection was trained to."""
        self.used.add(("models", connection))
        return self.models / connection

    def pair_set(self, link: Link, name: str) -> Path:
        """One set of the pairs of a link."""
        self.used.add(("pairs", f"{link.place}/{name}"))
        return self.pairs / link.place / name

    def with_tables(self, *names: str) -> Path | None:
        """The annotations, of which the tables called `names` are about to be read."""
        self.used.update(("annotations", name) for name in names)
        return self.annotations

    @property
    def roots(self) -> dict[str, Path]:
        """Where everything lies, by kind."""
        found = {"embeddings": self.embeddings, "models": self.models, "pairs": self.pairs}
        return found | ({"annotations": self.annotations} if self.annotations else {})
