"""Links among results, behind which DVC keeps nothing or sees no change."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.doctor.finding import FAIL, Finding
from pipeline.errors import UserError

HINT = (
    "Put the whole project on that disk, or, to link `data` itself, run `dvc config core.no_scm true` (then without "
    "`dvc exp` and `dvc metrics diff`)."
)


def harmful_links(root: Path, results: Collection[Path], others: Collection[Path] = ()) -> list[Finding]:
    """A finding for each link because of which `dvc repro` would fail after the work, or would not see a change.

    DVC writes the name of each result to a .gitignore beside it: with git it refuses a result below a linked folder when
    that has been made. And it does not look behind links inside of a folder on which a stage depends.

    Args:
        root: The project.
        results: Folders that hold results.
        others: Folders on which stages depend, besides those.
    """
    repository = _repository(root)
    found = []
    for folder in (*results, *others):
        real = Path(os.path.realpath(root / folder))
        if folder not in others and repository and not real.is_relative_to(repository) and _tracks_with_git(root):
            said = f"{folder} is a link to {real}, outside of the git repository: DVC refuses results there"
            found.append(Finding(FAIL, "DVC", said, HINT))
        else:
            said = "is a link, and DVC does not see when something behind it changes"
            found += [Finding(FAIL, "DVC", f"{link} {said}", HINT) for link in _links_below(root, folder)]
    return found


def refuse_harmful_links(root: Path, results: Collection[Path], others: Collection[Path]) -> None:
    """As `harmful_links`.

    Raises:
        UserError: There is a finding.
    """
    for finding in harmful_links(root, results, others):
        raise UserError(f"{finding.said}.", finding.hint)


def _links_below(root: Path, folder: Path) -> Iterator[Path]:
    for place, names, _ in os.walk(root / folder):
        for name in names:
            if os.path.islink(os.path.join(place, name)):
                yield Path(os.path.relpath(os.path.join(place, name), root))


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
