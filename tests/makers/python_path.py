"""PYTHONPATH of a process that a test starts."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_path(*folders: Path) -> str:
    """The repository, `folders`, and what this process was given: on a GPU host libraries lie there and nowhere else."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), *map(str, folders), *([given] if given else [])])
