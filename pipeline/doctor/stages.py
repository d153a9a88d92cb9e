"""What the stages of dvc.yaml need, asked of DVC itself before any of them runs."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.doctor.finding import FAIL, Finding


def unmet(repo: Any, made: Collection[Path], ensured: Collection[Path]) -> list[Finding]:
    """A finding for each thing that a stage depends on, that is not there, and that no stage makes.

    Args:
        repo: An open `dvc.repo.Repo`.
        made: Absolute paths that stages make.
        ensured: Absolute paths of folders that the first stage makes where they are missing.

    Raises:
        DvcException: The stages cannot be read, or two of them make the same.
    """
    from dvc.dependency.param import MissingParamsError, ParamsDependency

    repo.check_graph(stages=repo.index.stages)
    wanted: dict[str, str] = {}
    for stage in repo.index.stages:
        name = stage.addressing.rsplit(":", 1)[-1]
        for dependency in stage.deps:
            if isinstance(dependency, ParamsDependency):
                try:
                    dependency.get_hash()
                except MissingParamsError as error:
                    wanted.setdefault(str(error), name)
                continue
            path = Path(dependency.fs_path)
            if not (dependency.exists or path in ensured or is_made(path, made)):
                wanted.setdefault(f"{os.path.relpath(path, repo.root_dir)} is not there.", name)
    hint = "Put it there (an empty folder is enough where you have nothing), or write the settings down."
    return [Finding(FAIL, "DVC", f"the stage {name}: {what}", hint) for what, name in wanted.items()]


def is_made(path: Path, made: Collection[Path]) -> bool:
    """Whether a stage makes `path`, something below it, or a folder that it is in."""
    return any(path == out or out in path.parents or path in out.parents for out in made)
