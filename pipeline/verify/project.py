"""Everything that a project holds, end to end."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.links import Link
from pipeline.store.integrity.made_from import MADE_FROM_NAME
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.journal import JOURNAL_NAME
from pipeline.store.parts.names import folder_of

PARTS = {"shards": "*.tar", "embeddings": "part-*.parquet", "pairs": "part-*.parquet"}
RESULTS = {"metrics": (MADE_FROM_NAME, "metrics.parquet"), "reports": (MADE_FROM_NAME, "index.html")}


@dataclass(frozen=True)
class Wanted:
    """What the parameters say that there should be; empty where there are none.

    Attributes:
        places: Folders, of which each should be there or hold one that is.
        tables: Annotations that tasks read.
        links: By place below the pairs: each link.
    """

    places: Collection[Path] = ()
    tables: Collection[str] = ()
    links: Mapping[str, Link] = field(default_factory=dict)


def find_places(roots: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Kind and folder of everything that is there, in the order in which the stages make it; annotations apart.

    Args:
        roots: By kind: the folder that holds shards, embeddings, pairs, models, metrics, reports.
    """
    found: list[tuple[str, Path]] = []
    for kind, pattern in PARTS.items():
        names = (MANIFEST_NAME, JOURNAL_NAME, pattern)
        folders = {folder_of(path) for name in names for path in _below(roots[kind], name)}
        found += [(kind, folder) for folder in sorted(folders)]
    models = sorted(path for path in roots["models"].glob("*") if path.is_dir() and any(path.rglob("*.*")))
    found += [("models", folder) for folder in models]
    return found + [
        (kind, roots[kind]) for kind, names in RESULTS.items() if any((roots[kind] / n).is_file() for n in names)
    ]


def missing(wanted: Wanted, places: Collection[Path]) -> Iterator[Path]:
    """What should be there and is not, not even in part."""
    for place in wanted.places:
        if not any(place == there or place in there.parents for there in places):
            yield place


def _below(root: Path, pattern: str) -> Iterator[Path]:
    return root.rglob(pattern) if root.is_dir() else iter(())
