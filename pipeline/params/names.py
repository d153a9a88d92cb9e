"""Names that params.yaml gives, and paths that have to stay below a folder."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.files.plain_yaml import shown
from pipeline.names import name_problem

SECTIONS = ("corpora", "spaces", "encode", "connections", "evaluate.tasks")
# Parts of a connection whose keys are names too; they become folders below the connection's.
PARTS = ("leaves", "links", "memories")
# Files in data/annotations, or in the folder that `source` is.
TABLES = ("table", "proposals", "regions", "index")


def naming_problems(raw: Mapping[str, Any]) -> list[str]:
    """All names in an unchecked params.yaml that cannot be names, and tables that are elsewhere than in their folder."""
    problems: list[str] = []
    for section in SECTIONS:
        problems += _names(section, _at(raw, section))
    for where, parts in _parts("connections", _at(raw, "connections")):
        problems += _names(where, parts)
    for section in ("corpora", "evaluate.tasks"):
        problems += _tables(section, _at(raw, section))
    return problems


def _at(raw: Mapping[str, Any], dotted: str) -> object:
    value: object = raw
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _names(where: str, table: object) -> Iterator[str]:
    names = list(table) if isinstance(table, Mapping) else []
    known: dict[str, str] = {}
    for name in names:
        if problem := name_problem(name):
            yield f"{where}: {problem}"
        elif (twin := known.setdefault(name.casefold(), name)) != name:
            yield f"{where}: {twin} and {name} are one folder where case does not count: write another name for one of them"


def _parts(where: str, value: object) -> Iterator[tuple[str, object]]:
    """Every mapping below `value` whose keys are names."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            place = f"{where}.{shown(key)}"
            if key in PARTS:
                yield place, below
            yield from _parts(place, below)


def _tables(where: str, value: object) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    for key, below in value.items():
        place = f"{where}.{shown(key)}"
        if key in TABLES and isinstance(below, str) and below:
            path = PurePosixPath(below)
            if path.is_absolute() or ".." in path.parts:
                yield f"{place} = {shown(repr(below))}: has to be a path below its folder, without a leading / and .."
        else:
            yield from _tables(place, below)
