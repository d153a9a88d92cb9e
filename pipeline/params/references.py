"""Names in params.yaml that must exist elsewhere in it: spaces, corpora, jobs, connections."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import nearest
from pipeline.methods import Method, methods
from pipeline.modalities import MODALITIES


def reference_problems(raw: Mapping[str, Any]) -> list[str]:
    """All broken references of an unchecked params.yaml, each with its dotted path."""
    return [*_modalities(raw), *_jobs(raw), *_connections(raw), *_tasks(raw)]


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section with its malformed entries left out: the types are reported elsewhere."""
    section = raw.get(name)
    return {str(k): v for k, v in section.items() if isinstance(v, Mapping)} if isinstance(section, Mapping) else {}


def _missing(where: str, name: object, kind: str, known: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(name, str) and name not in known:
        close = nearest(name, known)
        choice = f"choose from {', '.join(known)}" if known else "params.yaml has none"
        hint = f"did you mean {close!r}?" if close else choice
        yield f"{where} = {name!r}: there is no such {kind}; {hint}"


def _modalities(raw: Mapping[str, Any]) -> Iterator[str]:
    said = raw.get("modalities")
    for name in said if isinstance(said, Mapping) else ():
        if name in MODALITIES:
            yield f"modalities.{name}: is a modality already; give yours another name"


def _jobs(raw: Mapping[str, Any]) -> Iterator[str]:
    seen: dict[tuple[object, object], str] = {}
    for job, entry in _table(raw, "encode").items():
        yield from _missing(f"encode.{job}.space", entry.get("space"), "space", _table(raw, "spaces"))
        yield from _missing(f"encode.{job}.corpus", entry.get("corpus"), "corpus", _table(raw, "corpora"))
        pair = (entry.get("space"), entry.get("corpus"))
        if pair in seen:
            yield f"encode.{job}: is the same as encode.{seen[pair]}"
        seen[pair] = job


def _connections(raw: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in _table(raw, "connections").items():
        where, join, method = f"connections.{name}.join", entry.get("join"), methods().get(str(entry.get("method")))
        if method is None or not isinstance(join, Mapping):
            continue
        if method.keeps_base:
            yield from _leaves(raw, where, join, method)
            continue
        if method.joint:
            yield from _graph(raw, where, entry, method)
            continue
        joined = join.get("spaces")
        joined = [space for space in joined if isinstance(space, str)] if isinstance(joined, list) else []
        for space in joined:
            yield from _missing(f"{where}.spaces", space, "space", _table(raw, "spaces"))
        yield from _link(raw, where, join, joined, method)


def _leaves(raw: Mapping[str, Any], where: str, join: Mapping[str, Any], method: Method) -> Iterator[str]:
    spaces, base = _table(raw, "spaces"), join.get("base")
    yield from _missing(f"{where}.base", base, "space", spaces)
    for leaf, link in _table(join, "leaves").items():
        place = f"{where}.leaves.{leaf}"
        if leaf == base:
            yield f"{place}: is the base itself; a leaf is another space"
        yield from _missing(place, leaf, "space", spaces)
        yield from _link(raw, place, link, [base, leaf] if isinstance(base, str) else [], method)


def _graph(raw: Mapping[str, Any], where: str, entry: Mapping[str, Any], method: Method) -> Iterator[str]:
    links = _table(entry["join"], "links")
    for name, link in links.items():
        place, memories = f"{where}.links.{name}", _table(link, "memories")
        for space in memories:
            yield from _missing(f"{place}.memories", space, "space", _table(raw, "spaces"))
        yield from _link(raw, place, link, list(memories), method)
        witness = link.get("witness")
        if not isinstance(witness, Mapping):
            continue
        yield from _missing(f"{place}.witness", witness.get("space"), "space", _table(raw, "spaces"))
        seen = [memory for memory in memories.values() if memory.get("modality") == witness.get("modality")]
        if any(memory.get("modality") == link.get("overlap") for memory in memories.values()):
            yield f"{place}.witness: there is nobody to ask where one hop joins the memories; leave it out"
            continue
        if not seen or witness.get("space") in memories:
            yield f"{place}.witness: has to be a third space, with the modality of one of the memories"
            continue
        for what, modality in ((link, link.get("overlap")), (seen[0], witness["modality"])):
            field = "queries" if what is link else "corpora"
            yield from _encoded(raw, f"{place}.witness", what, field, modality, [str(witness.get("space"))])
    train = entry.get("train")
    for name in _table(train if isinstance(train, Mapping) else {}, "links"):
        yield from _missing(f"{where.removesuffix('.join')}.train.links.{name}", name, "link", links)


def _link(
    raw: Mapping[str, Any], where: str, link: Mapping[str, Any], joined: list[str], method: Method
) -> Iterator[str]:
    """What joins two spaces: memories of both, and the modality that both embed where the method needs one."""
    memories = link.get("memories")
    memories = memories if isinstance(memories, Mapping) else {}
    if joined and sorted(map(str, memories)) != sorted(joined):
        yield f"{where}.memories: needs one entry for each of {', '.join(joined)}"
    for space, memory in memories.items():
        if isinstance(memory, Mapping):
            if method.sets and not memory.get("corpora"):
                yield f"{where}.memories.{space}.corpora: is required"
            yield from _encoded(
                raw, f"{where}.memories.{space}.corpora", memory, "corpora", memory.get("modality"), [space]
            )
    if not method.needs_overlap:
        return
    overlap = link.get("overlap")
    if not overlap or not link.get("queries"):
        yield f"{where}: method {method.name} needs `overlap` (a modality) and `queries` (corpora of it)"
    overlapping = [
        (f"{where}.memories.{space}", memory)
        for space, memory in memories.items()
        if isinstance(memory, Mapping) and overlap and memory.get("modality") == overlap
    ]
    for number, (place, memory) in enumerate(overlapping):
        if not method.one_hop or number:
            yield f"{place}.modality = {overlap!r}: is the overlapping modality; name the other one"
        elif memory.get("corpora") != link.get("queries"):
            yield f"{place}.corpora: are samples of the overlapping modality; name the corpora of `queries`"
    yield from _encoded(raw, f"{where}.queries", link, "queries", overlap, joined)


def _encoded(
    raw: Mapping[str, Any], where: str, entry: Mapping[str, Any], field: str, modality: object, spaces: list[str]
) -> Iterator[str]:
    """Each corpus in `entry[field]` must exist, hold `modality`, and be encoded by each of `spaces`."""
    corpora, jobs = _table(raw, "corpora"), _table(raw, "encode").values()
    names = entry.get(field)
    for corpus in names if isinstance(names, list) else []:
        if not isinstance(corpus, str) or corpus not in corpora:
            yield from _missing(where, corpus, "corpus", corpora)
            continue
        held = corpora[corpus].get("modalities")
        if isinstance(held, list) and modality not in held:
            yield f"{where} = {corpus!r}: the corpus holds {', '.join(map(str, held))}, not {modality}"
        for space in spaces:
            if not any(job.get("space") == space and job.get("corpus") == corpus for job in jobs):
                yield f"{where} = {corpus!r}: add to `encode` the job  {space}-{corpus}: {{space: {space}, corpus: {corpus}}}"


def _tasks(raw: Mapping[str, Any]) -> Iterator[str]:
    evaluate = raw.get("evaluate")
    connections = _table(raw, "connections")
    for name, task in _table(evaluate if isinstance(evaluate, Mapping) else {}, "tasks").items():
        where = f"evaluate.tasks.{name}"
        for field in ("corpus", "prompts", "crops"):
            yield from _missing(f"{where}.{field}", task.get(field), "corpus", _table(raw, "corpora"))
        if task.get("space"):
            yield from _missing(f"{where}.space", task["space"], "space", _table(raw, "spaces"))
        listed = task.get("connections")
        for connection in listed if isinstance(listed, list) else []:
            yield from _missing(f"{where}.connections", connection, "connection", connections)
        if task.get("baselines"):
            yield from _missing(f"{where}.baselines", task["baselines"], "connection", connections)
