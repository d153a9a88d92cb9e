"""Write a prepared evaluation set into params.yaml: comments and order stay, and nothing that is there is replaced."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline.errors import UserError
from pipeline.files.atomic import write_text
from pipeline.links import Link
from pipeline.modalities import POINT
from pipeline.params.load import check_params, load_params
from pipeline.params.model import Params

WIDTH = 4096  # of a line, beyond which an entry is broken: no line that somebody wrote is
# The blanks before a name, before its first entry on a line below, and that entry's dash with the blanks after it.
OPENED = re.compile(r"^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)(- +)?(?=[^\s#])", re.M)
NOTHING_OF_ITS_OWN: Mapping[str, Mapping[str, str | int]] = {}


Preparation = Mapping[str, Mapping[str, str | int]]


def add_set(
    path: Path, found: Mapping[str, Any], preparation: Preparation = NOTHING_OF_ITS_OWN
) -> tuple[list[str], list[str]]:
    """Add the corpora and tasks of a set to the file `path`, with jobs, connections and baselines that can read them.

    Args:
        path: params.yaml; it is replaced only if the result is valid.
        found: `corpora` and `evaluate.tasks`, as `pipeline.prepare.entries` makes them.
        preparation: By encoder family: options of the jobs that embed the set's point clouds.

    Returns:
        What was added, by dotted name, and in sentences what was left out.

    Raises:
        UserError: The file is not valid, or has something else under one of the names.
    """
    params = load_params(path)
    additions, left_out = _chosen(params, found, preparation)
    path = path.resolve()  # a link stays one
    before = path.read_bytes().decode("utf-8-sig")
    ends = "\r\n" if "\r\n" in before else "\n"
    before = before.replace("\r\n", "\n")
    yaml = as_written(before)
    content = yaml.load(before)
    added = []
    for section, entries in additions.items():
        place = content
        for step in section.split("."):
            if place.get(step) is None:
                place[step] = CommentedMap()
            place = place[step]
        for name, entry in entries.items():
            if name in place and _plain(place[name]) == entry:
                continue
            if name in place:
                raise UserError(
                    f"{path} has {section}.{name} already, with other content.", "Rename or remove it, then run again."
                )
            place[name] = _one_line(entry)
            added.append(f"{section}.{name}")
    text = io.StringIO()
    yaml.dump(content, text)
    check_params(YAML(typ="safe", pure=True).load(text.getvalue()), f"{path} with the set")
    if added:
        write_text(path, text.getvalue().replace("\n", ends))
    return added, left_out


def as_written(text: str) -> YAML:
    """A reader and writer of YAML that indents, breaks and quotes as `text` does.

    Values, comments and order stay. Blanks within a line, such as in ``seed:   0`` or ``[ 1, 2 ]``, may not, nor does a file with
    two depths of indentation.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, WIDTH
    found = [(len(under) - len(above), len(dash)) for above, under, dash in OPENED.findall(text)]
    mapping = next((deeper for deeper, dash in found if not dash and deeper > 0), 2)
    offset, dash = next(((deeper, dash) for deeper, dash in found if dash), (0, 2))
    yaml.indent(mapping=mapping, sequence=offset + dash, offset=offset)
    return yaml


def _chosen(
    params: Params, found: Mapping[str, Any], preparation: Preparation
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What of the set this project can read, by section, and what it cannot."""
    links = params.links
    readers: dict[str, dict[str, None]] = {}
    for link in (link for each in links.values() for link in each):
        for space in link.spaces:
            for modality in {link.memories[space].modality, link.overlap} - {""}:
                readers.setdefault(modality, {})[space] = None
    corpora = {name: entry for name, entry in found["corpora"].items() if entry["modalities"][0] in readers}
    left_out = [
        f"{name}: no space of a connection reads {entry['modalities'][0]}"
        for name, entry in found["corpora"].items()
        if name not in corpora
    ]
    jobs = {
        f"{space}-{name}": {"space": space, "corpus": name, **_options(params, space, entry, preparation)}
        for name, entry in corpora.items()
        for space in sorted(readers[entry["modalities"][0]], key=list(params.spaces).index)
    }
    tasks = {}
    for name, task in found["evaluate"]["tasks"].items():
        named = [task["corpus"], *task.get("corpora", {}).values(), task.get("prompts"), task.get("crops")]
        if missing := [each for each in named if each and each not in corpora and each not in params.corpora]:
            left_out.append(f"task {name}: there is no corpus {missing[0]}")
            continue
        measured = _measured(links, readers, _pair(task))
        if measured:
            tasks[name] = {**task, **measured}
        else:
            left_out.append(f"task {name}: no connection and no space reads both of {' and '.join(_pair(task))}")
    return {"corpora": corpora, "encode": jobs, "evaluate.tasks": tasks}, left_out


def _options(params: Params, space: str, corpus: Mapping[str, Any], preparation: Preparation) -> dict[str, Any]:
    """What of the set's preparation the space does not do by itself."""
    if corpus["modalities"] != [POINT]:
        return {}
    settings = params.spaces[space]
    wanted = preparation.get(settings.encoder, {})
    options = {name: value for name, value in wanted.items() if settings.options.get(name) != value}
    return {"options": options} if options else {}


def _pair(task: Mapping[str, Any]) -> tuple[str, str]:
    if task["task"] == "localisation":
        return "audio", "image"
    first, second = task.get("modalities") or (task["modality"], "text")
    return first, second


def _measured(
    links: Mapping[str, tuple[Link, ...]], readers: Mapping[str, Mapping[str, None]], pair: tuple[str, str]
) -> dict[str, Any]:
    """The connections that read both modalities, a frozen space that does, and whose data gives the baselines."""
    found: dict[str, Any] = {}
    wanted = set(pair)
    if connections := [
        name
        for name, each in links.items()
        if all(any(space in readers.get(modality, {}) for link in each for space in link.spaces) for modality in wanted)
    ]:
        found["connections"] = connections
    if alone := [space for space in readers.get(pair[0], {}) if space in readers.get(pair[1], {})]:
        found["space"] = alone[0]
    for name in connections:
        for link in links[name]:
            if link.overlap and link.queries and wanted <= link.modalities:
                return {**found, "baselines": name}
    return found


def _one_line(value: Any) -> Any:
    """Mappings and lists in flow style, as params.yaml has its short entries."""
    if isinstance(value, Mapping):
        made = CommentedMap((key, _one_line(each)) for key, each in value.items())
        made.fa.set_flow_style()
        return made
    return [_one_line(each) for each in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
