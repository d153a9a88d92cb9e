"""A folder of parts built in a process of its own, which dies at one of its file operations.

`python build_folder.py FOLDER`: there is a subfolder for every two parts, and for every file operation of a build there is a child that ends right before it, without
any clean-up; then the build goes on. What it finds and makes is printed as JSON, one line for each operation.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.progress import Silent
from pipeline.store import Made, PartFolder, Source, Work, run_parts
from pipeline.store.parts import names
from pipeline.store.parts.journal import read_journal

OPERATIONS = ("replace", "fsync", "unlink", "link", "open", "mkdir", "rmdir")


def make(number: int) -> Callable[[Path, object], Made]:
    def write(path: Path, progress: object) -> Made:
        path.write_bytes(bytes([number]) * 100)
        return Made([f"k{number}"])

    return write


def works(version: int) -> list[Work]:
    """Of the second version, one part changed, one is new in a subfolder of its own, and one is gone with its subfolder."""
    numbers = {1: (0, 1, 2), 2: (0, 1, 4)}[version]
    sources = {number: f"source {number}" + (" changed" if (number, version) == (1, 2) else "") for number in numbers}
    return [Work(f"{number:05d}.tar", Source(sources[number]), make(number)) for number in numbers]


def build(folder: Path, version: int) -> int:
    with PartFolder(folder, "shards", {"code": 1}) as parts:
        run_parts(parts, works(version), "test", "samples", Silent())
        parts.finish(0.0, {"_table.bin": lambda path: path.write_bytes(bytes([version]))})
        return parts.computed


def dying(folder: Path, version: int, operation: int) -> bool:
    """Build in a child that ends right before its file operation of that number; whether it got to the end."""
    child = os.fork()
    if child == 0:
        left = [operation]

        def counted(real: Callable) -> Callable:
            def call(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return real(*arguments, **options)

            return call

        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        build(folder, version)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def content(folder: Path) -> dict[str, str]:
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): "" if path.is_dir() else path.read_bytes().hex() for path in paths}


def main() -> None:
    """Kill the build of a new folder and that of a changed one at every operation."""
    root, names.PER_FOLDER = Path(sys.argv[1]), 2
    os.fsync = lambda descriptor: None  # Counted in the children; a kill loses nothing that was written.
    for version in (1, 2):
        start, whole = root / f"start{version}" / "corpus", root / f"whole{version}" / "corpus"
        start.mkdir(parents=True)
        if version == 2:
            build(start, 1)
        shutil.copytree(start, whole)
        needed = build(whole, version)
        for operation in range(1, 1000):
            folder = root / f"killed{version}-{operation}" / "corpus"
            shutil.copytree(start, folder)
            finished = dying(folder, version, operation)
            committed = sum("part" in entry for entry in read_journal(folder).entries)
            computed = build(folder, version)
            same = content(folder) == content(whole)
            print(json.dumps({"same": same, "needed": needed, "committed": committed, "computed": computed}))
            shutil.rmtree(folder.parent)
            if finished:
                break


if __name__ == "__main__":
    main()
