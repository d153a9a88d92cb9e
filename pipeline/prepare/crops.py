"""Cut proposed boxes out of pictures: the crops become a corpus, and a table says where each was cut."""

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL.Image import Image

from pipeline.decode.images import decode_image
from pipeline.decode.isolated import Isolated
from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import atomic_path
from pipeline.files.foreign import HEAD_BYTES, foreign_text
from pipeline.files.plain_yaml import shown
from pipeline.prepare.prepared import KEY, SEPARATOR, earlier_keys, key_of
from pipeline.progress import Progress

BOX = ("x0", "y0", "x1", "y1")
COLUMNS = pa.schema([KEY, *((edge, pa.float64()) for edge in BOX)])
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    # A picture is called by its name, which may be a number with zeros before it, or `nan`.
    "csv": lambda path: pd.read_csv(path, dtype={"image": str}, keep_default_na=False),
    "parquet": pd.read_parquet,
}
# What float32 makes of an edge of the picture is on it.
ROUNDING = 1e-6
BOXES = "Boxes are x0 < x1 and y0 < y1 as fractions of the picture, from 0 to 1: divide pixels by its width and height."


def cut_crops(proposals: Path, pictures: Path, folder: Path, table: Path, progress: Progress) -> int:
    """Cut all boxes of `proposals`; the whole picture where it has none is for the user to propose.

    Crops of an earlier table that this one has not are removed.

    Args:
        proposals: .csv or .parquet with the columns image (a file in `pictures`), x0, y0, x1, y1 in shares of the
            picture, of any detector.
        pictures: Folder of the pictures.
        folder: Where the crops go, as ``<picture>-<n>.png``.
        table: Where the boxes go, by key of the crop.
        progress: Told of every picture.

    Returns:
        The number of crops.

    Raises:
        UserError: A file is missing, damaged or outside of `pictures`, two have one key, a box is none, `table`
            exists and is not ours, or a file of somebody else is in the place of a crop.
    """
    rows = _read(proposals)
    stems = _stems(rows.image, proposals)
    written: dict[str, list[object]] = {name: [] for name in ("key", *BOX)}
    groups = rows.groupby("image", sort=True)
    keys = {name: [f"{stems[str(name)]}{SEPARATOR}{number}" for number in range(len(boxes))] for name, boxes in groups}
    progress.start("crop", len(groups), "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    # A picture may crash its decoder, hold it up or ask for all memory.
    apart: Isolated[bytes, Image] = Isolated(decode_image)
    crops = (folder / f"{key}.png" for key in chain(*keys.values()))
    with earlier_keys(table, COLUMNS, crops) as earlier, apart:
        for name, boxes in groups:
            picture = _decoded(pictures / str(name), apart, proposals)
            for key, box in zip(keys[name], boxes[list(BOX)].to_numpy(float), strict=True):
                with atomic_path(folder / f"{key}.png") as temporary:
                    _cropped(picture, box).save(temporary, "PNG")
                for column, value in zip(written, (key, *box.tolist()), strict=True):
                    written[column].append(value)
            progress.advance(1)
        with atomic_path(table) as temporary:
            pq.write_table(pa.table(written, schema=COLUMNS), temporary, write_page_checksum=True)
        for key in earlier.difference(*keys.values()):
            (folder / f"{key}.png").unlink(missing_ok=True)
    return len(written["key"])


def _cropped(picture: Image, box: np.ndarray) -> Image:
    edges = [round(share * side) for share, side in zip(box, [*picture.size, *picture.size], strict=True)]
    left, top = min(edges[0], picture.width - 1), min(edges[1], picture.height - 1)
    # At least a pixel: a detector's sliver is still its proposal.
    return picture.crop((left, top, max(edges[2], left + 1), max(edges[3], top + 1)))


def _stems(names: Iterable[object], proposals: Path) -> dict[str, str]:
    """What the keys of the crops of each picture begin with."""
    stems: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in dict.fromkeys(map(str, names)):
        path = PurePath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{proposals} names {shown(name)}.", "Name pictures by their paths below their folder.")
        stems[name] = key_of(str(path.with_suffix("")))
        other = first.setdefault(stems[name], name)
        if other != name:
            raise UserError(
                f"The crops of {shown(other)} and {shown(name)} would have the same keys.",
                "Rename one of the pictures.",
            )
    return stems


def _decoded(path: Path, apart: Isolated[bytes, Image], proposals: Path) -> Image:
    try:
        return apart.one(path.read_bytes())
    except (OSError, SampleError) as error:
        raise UserError(f"{path} cannot be read ({error}).", f"Correct the column `image` of {proposals}.") from error


def _read(proposals: Path) -> pd.DataFrame:
    reader = READERS.get(proposals.suffix[1:].lower())
    if reader is None or not proposals.is_file():
        raise UserError(f"{proposals} is not a .csv or .parquet file.", "Write the detector's boxes to one.")
    with proposals.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.startswith(b"PAR1") and (instead := foreign_text(head)):
        raise UserError(f"{proposals} is {instead[0]}.", instead[1])
    try:
        rows = reader(proposals)
    except OSError:
        raise
    except Exception as error:  # pandas and Arrow have many of their own
        reason = shown(str(error), 200)
        raise UserError(
            f"{proposals} cannot be read ({reason}).", "Write the detector's boxes to one of these formats."
        ) from error
    if missing := [column for column in ("image", *BOX) if column not in rows]:
        raise UserError(f"{proposals} has the columns {', '.join(map(str, rows))}, but no {', '.join(missing)}.", BOXES)
    if rows.empty:
        raise UserError(f"{proposals} has no rows.", "Write a row for each box of the detector.")
    if (nameless := rows.image.isna() | rows.image.eq("")).any():
        raise UserError(f"Row {_first(nameless)} of {proposals} names no image.", "Name the file of the picture.")
    boxes = rows[list(BOX)].apply(pd.to_numeric, errors="coerce")
    inside = boxes.clip(0, 1)
    valid = (boxes - inside).abs().le(ROUNDING).all(axis=1) & inside.x0.lt(inside.x1) & inside.y0.lt(inside.y1)
    if not valid.all():
        row = _first(~valid)
        said = ", ".join(shown(value) for value in rows.iloc[row - 1][list(BOX)])
        raise UserError(f"Row {row} of {proposals} is not a box: {said}.", BOXES)
    return pd.concat([rows.image, inside], axis=1)


def _first(marked: pd.Series) -> int:
    return int(marked.to_numpy().argmax()) + 1
