"""What samples hold, whatever file it is in: so that a copy which was saved anew is still found in another corpus.

Of each member of a corpus: a hash of its pixels, samples, points or words, and of pictures a small thumbnail, which
stays nearly the same when a picture is compressed or resized.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.files.reading import open_patiently, retried, written_by_us
from pipeline.store.integrity.check import check_file
from pipeline.store.manifest import load_manifest

LIKENESS_NAME = "_likeness.parquet"
# Raised when another way of hashing makes earlier tables useless.
CODE_VERSION = 1
CONTENT_BYTES = 16
THUMBNAIL_SIDE = 8
LOOK_BYTES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3
# Pictures are taken for the same from this correlation of their thumbnails on: of 3.2 million pairs of different
# pictures of the demo, which are much alike, the highest is 0.993; JPEG and half the size stay above it in photographs.
ALIKE = 0.995
# Levels of 255; thumbnails with less contrast, such as those of a page of text, all look alike.
FEWEST_LEVELS = 4.0
BATCH_ROWS = 8_192
_AGAIN = "Run `mcr shard` for this corpus again."
_METADATA = b"mcr"
_SCHEMA = pa.schema(
    [
        ("part", pa.string()),
        ("key", pa.string()),
        ("modality", pa.string()),
        ("content", pa.binary(CONTENT_BYTES)),
        ("look", pa.binary(LOOK_BYTES)),
    ]
)


@dataclass(frozen=True)
class Likeness:
    """What one member of a sample holds.

    Attributes:
        content: Hash of what was decoded; None if it could not be.
        look: The thumbnail of a picture, 8 x 8 x 3 bytes; None of everything else, and of pictures without contrast.
    """

    key: str
    modality: str
    content: bytes | None
    look: bytes | None


def write_likeness(path: Path, parts: Mapping[str, str], rows: Mapping[str, Iterable[Likeness]]) -> None:
    """Write the rows of each part, by its name, to `path`; `parts` are the SHA-256 of the parts by their names."""
    described = json.dumps({"code": CODE_VERSION, "parts": parts}, sort_keys=True)
    schema = _SCHEMA.with_metadata({_METADATA: described})
    with pq.ParquetWriter(path, schema, write_page_checksum=True, use_dictionary=["part", "modality"]) as writer:
        for name, found in rows.items():
            columns = list(zip(*((name, one.key, one.modality, one.content, one.look) for one in found), strict=True))
            if columns:
                arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def likeness_by_part(folder: Path) -> dict[str, tuple[str, list[Likeness]]]:
    """What an earlier run found, by part: its SHA-256 and its rows; empty if there is nothing that can be used."""
    path = folder / LIKENESS_NAME
    if not path.is_file():
        return {}
    with written_by_us(path, _AGAIN):
        table = retried(lambda: pq.ParquetFile(path, page_checksum_verification=True).read())
        described = json.loads(table.schema.metadata[_METADATA])
        if described["code"] != CODE_VERSION:
            return {}
        known: dict[str, tuple[str, list[Likeness]]] = {
            name: (digest, []) for name, digest in described["parts"].items()
        }
        for row in table.to_pylist():
            known[row.pop("part")][1].append(Likeness(**row))
        return known


def read_likeness(folder: Path) -> Iterator[list[Likeness]] | None:
    """The rows of a corpus in batches; None if it was sharded by a version that did not look.

    Raises:
        CorruptError: The table is damaged.
    """
    path = folder / LIKENESS_NAME
    if not path.is_file():
        return None
    if recorded := load_manifest(folder).files.get(LIKENESS_NAME):
        check_file(path, recorded, _AGAIN)
    return _batches(path)


def _batches(path: Path) -> Iterator[list[Likeness]]:
    with (
        written_by_us(path, _AGAIN),
        open_patiently(path) as file,
        pq.ParquetFile(file, page_checksum_verification=True) as table,
    ):
        for batch in table.iter_batches(BATCH_ROWS, columns=["key", "modality", "content", "look"]):
            yield [Likeness(**row) for row in batch.to_pylist()]


def unit_looks(looks: Iterable[bytes]) -> NDArray[np.float32]:
    """Thumbnails as unit vectors [N, 192] without their mean: their products are correlations."""
    values = np.frombuffer(b"".join(looks), np.uint8).reshape(-1, LOOK_BYTES).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
