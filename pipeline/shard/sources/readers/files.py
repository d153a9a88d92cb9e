"""Files that rows and captions files name: below one folder, and nowhere else."""

import os

from pipeline.errors import SampleError
from pipeline.modalities import ALIASES, SOURCE_MODALITY_OF
from pipeline.shard.formats.first_bytes import format_of
from pipeline.shard.sources.locate import locate
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder, RemoteFolder
from pipeline.shard.sources.readers.parquet import FileCell
from pipeline.shard.sources.sample import RawMember
from pipeline.shard.sources.unread import ending_of


def files_folder(folder: Folder, options: SourceOptions) -> Folder:
    """The folder of the files that an index names: `options.files` as it stands or below the index' folder.

    Raises:
        UserError: There is no such folder.
    """
    if not options.files:
        return folder
    if "://" in options.files or os.path.isabs(options.files):
        return locate(options.files).folder
    if isinstance(folder, RemoteFolder):
        return locate(f"{folder.root.rstrip('/')}/{options.files}").folder
    return locate(os.path.join(folder.root, options.files)).folder


def leads_out(path: str) -> bool:
    """Whether a path from a data set does not stay below the folder that it is meant for."""
    parts = path.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or parts[0].endswith(":")


def file_member(files: Folder, path: str) -> RawMember:
    """The file that a row names, below `files`.

    Raises:
        SampleError: The path leads elsewhere, or to no file that could be read.
    """
    if "://" in path:
        raise SampleError("read", "the path is an address: fetch the files, and name them below `files`")
    if leads_out(path):
        raise SampleError("read", "the path is absolute or leads out of its folder")
    extension = ending(path)
    if extension not in SOURCE_MODALITY_OF:
        raise SampleError("read", f"a file with {ending_of(path)} is not read")
    return RawMember(ALIASES.get(extension, extension), files, path)


def ending(path: str) -> str:
    """The ending of a path without its dot, in lower case; empty if it has none."""
    _, dot, found = path.rpartition("/")[2].rpartition(".")
    return found.lower() if dot else ""


def cell_member(cell: FileCell, column: str) -> RawMember:
    """The file in a cell.

    Raises:
        SampleError: It is of no format that is known by its bytes or by its name.
    """
    extension = format_of(cell.head) or ending(cell.path)
    if extension not in SOURCE_MODALITY_OF:
        raise SampleError("read", f"the column {column!r} holds bytes of no format that is read")
    return RawMember(extension, cell.cells, cell.place)
