"""What samples hold, whatever file it is in: so that a copy which was saved anew is still found in another corpus.

Of each member of a corpus: a hash of its pixels, samples, points or words, and of pictures a small thumbnail, which
stays nearly the same when a picture is compressed or resized. They are kept in one file for each shard, in a folder for
each corpus. Its name says which shard that is and what its own bytes hash to: nobody else has to vouch for it, processes
that write it at the same time write the same, and a shard that was made anew is looked at anew.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.files.atomic import discard, move, temporary_file
from pipeline.files.reading import open_patiently, written_by_us
from pipeline.hashing import sha256_file, sha256_once
from pipeline.store.manifest import Part
from pipeline.store.parquet import write_table

log = logging.getLogger(__name__)

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
# Of each of the two hashes in a name, in hexadecimal digits.
_DIGITS = 32
_SCHEMA = pa.schema(
    [
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


def keep_likeness(folder: Path, shard: Part, rows: Sequence[Likeness]) -> None:
    """Write what the members of `shard` hold to a file in `folder`; equal rows give the same file."""
    columns = list(zip(*map(astuple, rows), strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
    with temporary_file(folder / f"{shard.sha256[:_DIGITS]}.parquet") as temporary:
        write_table(temporary, pa.Table.from_arrays(arrays, schema=_SCHEMA))
        name = f"{_start(shard)}{sha256_file(temporary)[:_DIGITS]}.parquet"
    move(temporary, folder / name)


def kept_likeness(folder: Path, shard: Part) -> Path | None:
    """The file in `folder` about `shard`, intact; None where there is none. A damaged one is removed, with a warning."""
    for path in sorted(folder.glob(f"{_start(shard)}*.parquet")):
        if sha256_once(path).startswith(path.stem.removeprefix(_start(shard))):
            return path
        log.warning("%s is damaged; its shard is checked again.", path)
        discard(path)
    return None


def read_likeness(paths: Iterable[Path]) -> Iterator[list[Likeness]]:
    """The rows of such files in batches, in bounded memory.

    Raises:
        CorruptError: One is damaged.
    """
    for path in paths:
        with (
            written_by_us(path, "Remove it and run the same command again."),
            open_patiently(path) as file,
            pq.ParquetFile(file, page_checksum_verification=True) as table,
        ):
            for batch in table.iter_batches(BATCH_ROWS):
                yield [Likeness(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def unit_looks(looks: Iterable[bytes]) -> NDArray[np.float32]:
    """Thumbnails as unit vectors [N, 192] without their mean: their products are correlations."""
    values = np.frombuffer(b"".join(looks), np.uint8).reshape(-1, LOOK_BYTES).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


def _start(shard: Part) -> str:
    return f"{CODE_VERSION}-{shard.sha256[:_DIGITS]}-"
