"""What `dvc repro` would run, and why; found without running anything."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

SHOWN = 3


@dataclass(frozen=True)
class Change:
    """A stage that would run.

    Attributes:
        stage: Its name, such as ``encode@clip``.
        reasons: What changed, in words; empty if it runs only because a stage before it does, and then only if what
            that one makes is different.
    """

    stage: str
    reasons: list[str]


@dataclass(frozen=True)
class Changes:
    """The stages of a project.

    Attributes:
        run: Those that would run because something changed, dependencies first.
        unchanged: The others, by name; those of a dvc.yaml in a folder as ``folder/dvc.yaml:name``.
    """

    run: list[Change]
    unchanged: frozenset[str]


def stage_changes(root: Path, other: Collection[Path] = ()) -> Changes:
    """Which stages `dvc repro` in `root` would run because something changed.

    `dvc repro --dry` names only those whose own inputs changed already; here all that come after them are named too.
    A stage that looks at each run whether something changed is named only if something did.

    Args:
        root: The project.
        other: Files that such a stage would write anew.

    Raises:
        UserError: `root` is not a DVC project, or its stages cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from networkx import dfs_postorder_nodes  # the graph is one of its own

    try:
        with Repo(str(root)) as repo:
            changed = repo.status()
            graph = repo.index.graph
            found: list[Change] = []
            runs: set[Any] = set()
            unchanged: list[str] = []
            anew = {path.absolute() for path in other}
            for stage in dfs_postorder_nodes(graph):  # in which `dvc repro` runs them
                entries = [entry for entry in changed.get(stage.addressing, []) if entry != "always changed"]
                reasons = _words(entries) or [
                    f"{dependency}: modified" for dependency in stage.deps if Path(dependency.fs_path) in anew
                ]
                if reasons or any(other in runs for other in graph.successors(stage)):
                    runs.add(stage)
                    found.append(Change(stage.addressing.rsplit(":", 1)[-1], reasons))
                else:
                    unchanged.append(stage.addressing)
            return Changes(found, frozenset(unchanged))
    except DvcException as error:
        raise UserError(f"DVC cannot read its stages: {error}.", "Run `dvc status`, which says more.") from error


def _words(entries: list[Any]) -> list[str]:
    """DVC's own entries: ``changed command``, or ``{"changed deps": {path: "modified"}}``."""
    said: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            said.append(entry)
            continue
        for paths in entry.values():
            said += [f"{path}: {_settings(how)}" for path, how in paths.items()]
    return said[:SHOWN] + ([f"and {len(said) - SHOWN} more"] if len(said) > SHOWN else [])


def _settings(how: object) -> str:
    """What happened to a file, or to which settings in it."""
    return ", ".join(f"{name} {change}" for name, change in how.items()) if isinstance(how, dict) else str(how)
