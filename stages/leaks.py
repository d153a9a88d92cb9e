"""Leaks, said before training and in the report: evaluation samples in the data that connections are made from.

No stage of dvc.yaml depends on this: a warning changes no output, and the report depends on the shards themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.params.model import Params

Pair = tuple[str, str]


@dataclass(frozen=True)
class _Compared:
    """Leaks in sentences, and corpora whose content could not be looked at, and why."""

    leaks: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)


def warn_of_leaks(params: "Params", connection: str) -> None:
    """Print what evaluation sets share with the corpora of `connection`.

    Of connections that read the same corpora the first in params.yaml speaks for all, so that `dvc repro`, which
    trains one after the other, says everything once.
    """
    names = list(params.connections)
    earlier = _pairs(params, names[: names.index(connection)])
    pairs = [pair for pair in _pairs(params, [connection]) if pair not in earlier]
    found = _compare(pairs)
    if found is None:
        say(
            f"train {connection}: its corpora were not compared with the evaluation sets, since not all have shards: run "
            "`mcr shard`, or make sure yourself that imported embeddings hold no evaluation sample"
        )
        return
    for leak in found.leaks:
        say(f"LEAK: {leak}: numbers on that set will be too good")
    if pairs and not found.leaks:
        corpora, sets = (", ".join(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
        say(f"train {connection}: no sample of {corpora} is in {sets}, by key, by bytes or by content")
    for corpus, reason in found.unseen.items():
        say(f"train {connection}: copies that were saved anew were not looked for in {corpus}: {reason}")


def leaks_of(params: "Params", connections: Iterable[str]) -> list[str] | None:
    """What evaluation sets share with the corpora of `connections`, in sentences; None if shards are missing."""
    found = _compare(_pairs(params, connections))
    return found.leaks if found else None


def _pairs(params: "Params", connections: Iterable[str]) -> list[Pair]:
    """Corpora of the connections, each with every evaluation set."""
    links = params.links
    corpora = dict.fromkeys(corpus for name in connections for link in links[name] for corpus in link.corpora)
    sets: dict[str, None] = {}
    for task in params.evaluate.tasks.values():
        sets |= dict.fromkeys([task.corpus, *getattr(task, "corpora", {}).values()])
    return [(corpus, evaluation) for evaluation in sets for corpus in corpora]


def _compare(pairs: list[Pair]) -> _Compared | None:
    from pipeline.leaks.find import comparable, described, find_leaks
    from pipeline.leaks.likeness import look_at
    from stages.context import LIKENESS, SHARDS, ConsoleProgress

    compared = _Compared()
    for evaluation in dict.fromkeys(evaluation for _, evaluation in pairs):
        corpora = {corpus: SHARDS / corpus for corpus, other in pairs if other == evaluation}
        try:
            folders = comparable(SHARDS / evaluation, corpora.values())
        except UserError:
            return None
        compared.unseen.update(look_at(folders, LIKENESS, ConsoleProgress()))
        compared.leaks.extend(described(evaluation, find_leaks(SHARDS / evaluation, corpora, LIKENESS)))
    return compared
