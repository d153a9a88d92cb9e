"""Where results lie: free space, and how DVC keeps them."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.doctor.finding import FAIL, NOTE, OK, Finding
from pipeline.doctor.killed import advice, half_written
from pipeline.doctor.stages import unmet

LITTLE_SPACE = 10e9
_WITH_GIT = (
    "For `dvc exp` and `dvc metrics diff`, and so that git leaves DVC's own files alone, run `dvc config core.no_scm false` and "
    "`printf '/config.local\\n/tmp\\n/cache\\n' >> .dvc/.gitignore`."
)


@dataclass(frozen=True)
class Storage:
    """What was found.

    Attributes:
        findings: For a person.
        made: Absolute paths that DVC stages make.
    """

    findings: list[Finding]
    made: frozenset[Path] = field(default_factory=frozenset)


def disk(folder: Path) -> Finding:
    """How much can still be written to `folder`?"""
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:,.0f} GB free for {folder.absolute()}"
    if free < LITTLE_SPACE:
        return Finding(NOTE, "disk", said, "`mcr plan` shows what a run needs.")
    return Finding(OK, "disk", said)


def dvc(root: Path, ensured: Collection[Path] = ()) -> Storage:
    """Is `root` a DVC project whose stages find what they need, and how does its cache hand out results?

    Args:
        root: The project.
        ensured: Folders that are made where they are missing.
    """
    from dvc import __version__
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(root)) as repo:
            made = frozenset(Path(out.fs_path) for out in repo.index.outs)
            missing = unmet(repo, made, [folder.absolute() for folder in ensured]) + half_written(repo)
            if not repo.index.stages:
                away = "Move dvc.yaml away, because it is not replaced; then " if (root / "dvc.yaml").exists() else ""
                hint = f"{away}`mcr init RECIPE --force` writes dvc.yaml: keep a copy of your params.yaml, and put it back after it."
                missing.append(Finding(NOTE, "DVC", "there are no stages, so `dvc repro` runs nothing", hint))
            if repo.config["core"].get("no_scm") and (root / ".git").exists():
                missing.append(Finding(NOTE, "DVC", "there is git here, but DVC was set up without it", _WITH_GIT))
            link = _link(repo)
            return Storage([_links(__version__, str(repo.cache.local.path), link), *missing], made)
    except NotDvcRepoError:
        return Storage(
            [
                Finding(
                    FAIL,
                    "DVC",
                    f"{root.absolute()} is not a DVC project",
                    "Run `git init && dvc init`, or without git `dvc init --no-scm`.",
                )
            ]
        )
    except SCMError as error:
        hint = "Run `git init`, or keep the project without git: `dvc config core.no_scm true`."
        return Storage([Finding(FAIL, "DVC", f"{error}", hint)])
    except DvcException as error:
        return Storage([Finding(FAIL, "DVC", str(error), advice(error))])


def cache_link(root: Path) -> str:
    """How the DVC cache hands out results: ``reflink``, ``hardlink``, ``symlink`` or ``copy``.

    ``copy`` also where `root` is not a DVC project, or not one that DVC can open. Reads no stage.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(root)) as repo:
            return _link(repo)
    except (DvcException, SCMError):
        return "copy"


def _link(repo: Any) -> str:
    """The first kind of link of the configured ones that the disk can make."""
    from dvc.fs import generic

    cache = repo.cache.local
    kinds = list(cache.cache_types)
    if os.access(cache.path, os.W_OK | os.X_OK):  # a link has to be made to know
        possible = generic.test_links(
            ["reflink", "hardlink", "symlink"], cache.fs, cache.path, repo.fs, str(repo.root_dir)
        )
        kinds = [kind for kind in kinds if kind in ("copy", *possible)]
    return kinds[0] if kinds else "copy"


def _links(version: str, cache: str, kind: str) -> Finding:
    said = f"{version}, cache {cache}, links by {kind}"
    if kind in ("hardlink", "symlink"):
        # Outputs that persist are made writable at each run, which for these links means a copy of all of it.
        hint = "Run `dvc config cache.type reflink,copy`: with these links every run copies each output first."
        return Finding(NOTE, "DVC", said, hint)
    if kind == "copy":
        return Finding(OK, "DVC", f"{said}: every result takes up its space twice")
    return Finding(OK, "DVC", said)
