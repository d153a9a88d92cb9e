"""Point clouds in the files of OpenShape (an `.npy` that holds a pickled dictionary) as plain `.npy`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.npy import any_header
from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import write_bytes
from pipeline.modalities import POINT
from pipeline.progress import Progress
from pipeline.shard.formats.inert_pickle import read_inert
from pipeline.shard.formats.points import npy_bytes, with_colours
from pipeline.shard.limits import MAX_BYTES


@dataclass(frozen=True)
class Converted:
    """What became of a folder of files.

    Attributes:
        written: How many point clouds were written.
        refused: Files that hold none, with the reason.
    """

    written: int
    refused: tuple[tuple[Path, str], ...]


def convert_openshape(source: Path, folder: Path, colours: bool, progress: Progress) -> Converted:
    """Write the point cloud of every `.npy` below `source` to the same place below `folder`.

    The pickles in the files are read as data: nothing in them is run. See `pipeline.shard.formats.inert_pickle`.

    Args:
        source: Folder of OpenShape's files.
        folder: Where the point clouds [N, 3] go, float32, as they stand in the files.
        colours: Whether red, green, blue from 0 to 1 follow the coordinates: [N, 6].
        progress: Told how far the work is.

    Raises:
        UserError: There are no files, or `folder` is within `source`.
    """
    if folder.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{folder} is within {source}.", "Write the point clouds to a folder of their own.")
    paths = sorted(path for path in source.rglob("*.npy") if path.is_file())
    if not paths:
        raise UserError(f"{source} holds no .npy file.", "Give the folder of OpenShape's files.")
    progress.start("convert", len(paths), "files")
    refused = []
    for path in paths:
        try:
            points = _points(path, colours)
            write_bytes(folder / path.relative_to(source), points)
        except SampleError as error:
            refused.append((path, error.message))
        progress.advance(1)
    return Converted(len(paths) - len(refused), tuple(refused))


def _points(path: Path, colours: bool) -> bytes:
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES[POINT] + 1)
    if len(content) > MAX_BYTES[POINT]:
        raise SampleError("read", f"the file has more than {MAX_BYTES[POINT]} bytes")
    cloud = openshape_dictionary(content)
    xyz = _array(cloud, "xyz")
    if not colours:
        return npy_bytes(xyz[:, :3].astype(np.float64) if xyz.ndim == 2 else xyz)
    return npy_bytes(with_colours(xyz, _array(cloud, "rgb")))


def openshape_dictionary(content: bytes) -> dict[str, Any]:
    """The dictionary in an `.npy` file of OpenShape; its arrays are NumPy arrays.

    Raises:
        SampleError: It is not such a file, or its pickle asks for more than plain values and arrays.
    """
    header = any_header(content)
    if not header.dtype.hasobject:
        raise SampleError("read", "the file is a plain array already")
    value = read_inert(content[header.start :])
    if not isinstance(value, dict):
        raise SampleError("read", f"the pickle holds a {type(value).__name__}, not a dictionary")
    return value


def _array(cloud: dict[str, Any], name: str) -> NDArray[Any]:
    value = cloud.get(name)
    if not isinstance(value, np.ndarray):
        raise SampleError("read", f"the dictionary has no array {name!r}; it has {', '.join(map(str, cloud))[:80]}")
    return value
