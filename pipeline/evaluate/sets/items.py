"""An evaluation set in memory: the same items seen by two modalities, each through one or more frozen spaces."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.ranking.positives import Positives
from pipeline.evaluate.sets.annotations import read_labels, read_marks, single_labels
from pipeline.evaluate.sets.named import by_sample
from pipeline.evaluate.sets.repeated import check_repeats
from pipeline.evaluate.settings import TEXT, PairTask, RetrievalTask
from pipeline.store import read_placed

log = logging.getLogger(__name__)

TOGETHER = "+"  # in no name of a space


@dataclass(frozen=True)
class Side:
    """One modality of the set.

    Attributes:
        keys: Of the N rows, ascending.
        items: Number of the item that each row shows [N]; what is resampled.
        groups: What a row of the other side must share to be right [N]: the item, or its class.
        embeddings: By frozen space [N, D].
    """

    keys: list[str]
    items: np.ndarray
    groups: np.ndarray
    embeddings: dict[str, np.ndarray]


@dataclass(frozen=True)
class EvaluationSet:
    """Two sides that show the same items or classes; every method of a task is measured on exactly these."""

    sides: tuple[Side, Side]
    items: int
    positives: Positives


def load_set(task: PairTask, spaces: tuple[Collection[str], Collection[str]], folders: Folders) -> EvaluationSet:
    """Read both modalities of `task`, each in `spaces`, and keep the samples that have a partner in both.

    A partner shows the same item; where the task names labels, any sample of the same class is one, and the two
    modalities need not have a key in common.

    Raises:
        UserError: A store is missing, or the two modalities have no item (or class) in common.
    """
    tables = [
        load_embeddings(folders, names, task.corpus_of(modality), modality)
        for modality, names in zip(task.pair, spaces, strict=True)
    ]
    items_of = _items([keys for keys, _ in tables], task.item_separator)
    samples = {key: item for of in items_of for key, item in of.items()}
    labels = task.labels if isinstance(task, RetrievalTask) else None
    classes = single_labels(read_labels(folders.with_tables(labels.table), labels), labels) if labels else None
    if labels and classes is not None:
        classes = by_sample(classes, samples, labels.table, task.corpus)
    only: set[str] | None = None
    if task.only:
        marks = read_marks(folders.with_tables(task.only.table), task.only)
        only = {key for key, mark in by_sample(marks, samples, task.only.table, task.corpus).items() if mark}

    def group(side: int, key: str) -> str | None:
        item = items_of[side][key]
        if only is not None and key not in only and item not in only:
            return None
        return item if classes is None else classes.get(key, classes.get(item))

    held = [{name for key in keys if (name := group(at, key)) is not None} for at, (keys, _) in enumerate(tables)]
    shared = held[0] & held[1]
    if not shared:
        what = "item" if classes is None else "class"
        raise UserError(
            f"The {task.pair[0]} and {task.pair[1]} of {task.corpus} have no {what} in common.",
            "Check that both modalities have the same keys, or set `item_separator`."
            if classes is None
            else "Check that the keys of the labels are those of the samples.",
        )
    if len(shared) == 1 and isinstance(task, RetrievalTask):
        what = "item" if classes is None else "class"
        log.warning("%s has one %s: every answer is right, and every method is at 100 %%", task.corpus, what)
    used = [[key for key in keys if group(at, key) in shared] for at, (keys, _) in enumerate(tables)]
    numbers = {name: number for number, name in enumerate(sorted(shared))}
    shown = sorted({items_of[at][key] for at, keys in enumerate(used) for key in keys})
    item_numbers = {name: number for number, name in enumerate(shown)}
    sides = []
    for at, (modality, chosen, (keys, table)) in enumerate(zip(task.pair, used, tables, strict=True)):
        if len(chosen) < len(keys):
            log.log(
                logging.INFO if only is not None else logging.WARNING,
                "%s: %d of %d %s items have a counterpart and are used; not %s",
                task.corpus, len(chosen), len(keys), modality, ", ".join(sorted({*keys} - {*chosen})[:2]),
            )  # fmt: skip
        rows = np.flatnonzero([group(at, key) in shared for key in keys])
        items = np.array([item_numbers[items_of[at][key]] for key in chosen])
        groups = np.array([numbers[str(group(at, key))] for key in chosen])
        if modality != TEXT and table:
            # What a corpus of both modalities may hold, the shard stage has decided; no row of a geometry task is wrong.
            kept = not isinstance(task, RetrievalTask) or task.repeated == "keep" or task.one_corpus
            check_repeats(modality, task.corpus_of(modality), chosen, groups, next(iter(table.values()))[rows], kept)
        sides.append(Side(chosen, items, groups, {name: vectors[rows] for name, vectors in table.items()}))
    positives = Positives.of_items([str(g) for g in sides[0].groups], [str(g) for g in sides[1].groups])
    return EvaluationSet((sides[0], sides[1]), len(shown), positives)


def load_embeddings(
    folders: Folders, spaces: Collection[str], corpus: str, modality: str
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Keys, ascending, that a corpus has in all `spaces`, and by space the embeddings [N, D] in their order.

    What enters by several towers (``clip+clap``) has their embeddings side by side.

    Raises:
        UserError: A store is missing.
    """
    single = sorted({tower for space in spaces for tower in towers_of(space)})
    found = {space: read_placed([folders.store(space, corpus, modality)]) for space in single}
    rows = {space: {key: row for row, key in enumerate(keys)} for space, (keys, _) in found.items()}
    keys = sorted(set.intersection(*(set(each) for each in rows.values())))
    most = max(len(each) for each in rows.values())
    if len(keys) < most:
        log.info("%s: %d of %d %s items are in all spaces and are used", corpus, len(keys), most, modality)
    tables = {space: found[space][1][[rows[space][key] for key in keys]] for space in found}
    return keys, {
        space: tables[space] if space in tables else np.hstack([tables[tower] for tower in towers_of(space)])
        for space in sorted(spaces)
    }


def towers_of(entered: str) -> tuple[str, ...]:
    """The frozen spaces through which a modality enters: ``clip``, or ``clip+clap`` where it is several."""
    return tuple(entered.split(TOGETHER))


def _items(keys: Sequence[Sequence[str]], separator: str) -> list[dict[str, str]]:
    """By side: the item that each key shows.

    A key is cut at its last separator only if the other side knows what is left: the key of a sound may hold a dash
    of its own (`-a1B_30`) beside those of its captions (`-a1B_30-0`).
    """
    if not separator:
        return [{key: key for key in side} for side in keys]
    cut = [{key: key.rsplit(separator, 1)[0] for key in side} for side in keys]
    known = [{*side, *parts.values()} for side, parts in zip(keys, cut, strict=True)]
    return [
        {key: part if part in known[1 - at] else key for key, part in parts.items()} for at, parts in enumerate(cut)
    ]
