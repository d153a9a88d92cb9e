"""Folders of results that are links to another place: DVC with git keeps nothing below them."""

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.doctor.finding import FAIL, Finding
from pipeline.errors import UserError


def linked_outputs(root: Path, folders: Iterable[Path]) -> list[Finding]:
    """A finding for each of `folders` whose results DVC would refuse after they were made.

    DVC writes the name of each result to a .gitignore beside it. If that is outside of the repository, because a folder
    above the result is a link, the stage fails when its work is done. A result that is itself a link is fine.

    Args:
        root: The project.
        folders: Folders that hold results.
    """
    repository = _repository(root)
    if repository is None:
        return []
    found = []
    for folder in folders:
        real = Path(os.path.realpath(root / folder))
        if real.is_relative_to(repository) or not _tracks_with_git(root):
            continue
        hint = (
            "Link each folder in it instead of itself, or put the whole project on that disk, or run "
            "`dvc config core.no_scm true` (then without `dvc exp` and `dvc metrics diff`)."
        )
        found.append(Finding(FAIL, "DVC", f"{folder} is a link to {real}, outside of the git repository", hint))
    return found


def refuse_linked_outputs(root: Path, folders: Iterable[Path]) -> None:
    """As `linked_outputs`.

    Raises:
        UserError: There is a finding.
    """
    for finding in linked_outputs(root, folders):
        raise UserError(f"{finding.said}: DVC would refuse its results after they were made.", finding.hint)


def _repository(root: Path) -> Path | None:
    """Top of the git repository that `root` is in."""
    real = Path(os.path.realpath(root))
    return next((folder for folder in (real, *real.parents) if (folder / ".git").exists()), None)


def _tracks_with_git(root: Path) -> bool:
    from dvc.config import Config, ConfigError

    try:
        return not Config(str(root / ".dvc"))["core"].get("no_scm", False)
    except ConfigError:
        return True
