"""Remove what an earlier version of the parameters left behind, since nothing else would ever do it."""

import logging
import shutil
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)


def keep_only(root: Path, folders: Collection[Path]) -> None:
    """Remove everything below `root` that is neither one of `folders`, nor in one, nor on the way to one.

    Of a folder in `folders` all files stay, and only those of its folders that are on the way to another one.

    Args:
        root: Where results of one connection lie; it may not exist.
        folders: `root` itself or folders at any depth below it.
    """
    on_the_way = {parent for folder in folders for parent in (folder, *folder.parents)}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_dir() and path in on_the_way:
            keep_only(path, folders)
        elif path.is_dir():
            log.info("%s belongs to nothing in the parameters any more and is removed", path)
            shutil.rmtree(path)
        elif root not in folders:
            path.unlink()
