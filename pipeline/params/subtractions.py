"""Leave parts of a recipe out: what refers to them goes with them, and comments of what stays are kept."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import UserError, choice
from pipeline.params.additions import as_written
from pipeline.params.load import check_params
from pipeline.params.model import Params


def without(text: str, names: Sequence[str], source: str) -> str:
    """The recipe `text` without evaluation sets, corpora or connections.

    A set is all corpora whose names begin with its name and a dash. Tasks of a corpus that is left out go, and so do jobs,
    corpora, spaces and files to fetch that nothing needs any more.

    Args:
        text: A valid params.yaml.
        names: What to leave out.
        source: What an error calls the recipe.

    Raises:
        UserError: There is nothing of that name, or nothing would be left to measure.
    """
    yaml = as_written(text)
    content = yaml.load(text)
    for name in names:
        _leave_out(content, name, source)
    if not content["evaluate"]["tasks"]:
        raise UserError(f"Without {', '.join(names)} nothing in {source} is left to measure.", "Leave less out.")
    _drop_unused(content, _checked(content, yaml, f"{source} without {', '.join(names)}"))
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def _checked(content: Any, yaml: YAML, source: str) -> Params:
    out = io.StringIO()
    yaml.dump(content, out)
    return check_params(YAML(typ="safe", pure=True).load(out.getvalue()), source)


def _leave_out(content: Any, name: str, source: str) -> None:
    corpora = [corpus for corpus in content["corpora"] if corpus == name or corpus.startswith(f"{name}-")]
    if not corpora and name not in content["connections"]:
        sets = {corpus.rpartition("-")[0] or corpus for corpus in content["corpora"]}
        known = [*content["connections"], *sorted(sets)]
        raise UserError(f"{source} has no set, corpus or connection {name!r}.", choice(name, known))
    content["connections"].pop(name, None)
    for corpus in corpora:
        del content["corpora"][corpus]
    _remove(content["encode"], lambda job: job["corpus"] in corpora)
    _remove(content["evaluate"]["tasks"], lambda task: not {*_corpora_of(task)}.isdisjoint(corpora))
    for task in content["evaluate"]["tasks"].values():
        if name in task.get("connections", ()):
            task["connections"].remove(name)
        for field in ("connections", "baselines"):
            if field in task and task[field] in ([], name):
                del task[field]
        if "expected" in task:
            task["expected"] = [number for number in task["expected"] if number["of"] != name]
    _remove(content["evaluate"]["tasks"], lambda task: {"connections", "space", "baselines"}.isdisjoint(task))


def _drop_unused(content: Any, params: Params) -> None:
    """Corpora, jobs, spaces and files that served only what was left out."""
    tasks = content["evaluate"]["tasks"].values()
    links = [link for links in params.links.values() for link in links]
    read = {corpus for task in tasks for corpus in _corpora_of(task)} | {c for link in links for c in link.corpora}
    spaces = {str(task["space"]) for task in tasks if "space" in task} | {s for link in links for s in link.spaces}
    spaces |= {link.witness.space for link in links if link.witness}
    for name in [name for name in content["corpora"] if name not in read]:
        del content["corpora"][name]
    for name in [name for name in content["spaces"] if name not in spaces]:
        del content["spaces"][name]
    _remove(content["encode"], lambda job: job["corpus"] not in read or job["space"] not in spaces)
    known = {*content["corpora"], *content["spaces"]}
    for name in [name for name in content.get("fetch", {}) if name not in known]:
        del content["fetch"][name]


def _remove(table: Any, unwanted: Any) -> None:
    for name in [name for name, entry in table.items() if unwanted(entry)]:
        del table[name]


def _corpora_of(task: Mapping[str, Any]) -> Iterator[str]:
    yield from (task[field] for field in ("corpus", "prompts", "crops") if field in task)
    yield from task.get("corpora", {}).values()
