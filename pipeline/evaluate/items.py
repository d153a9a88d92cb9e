"""An evaluation set in memory: the same items seen by two modalities, each through one or more frozen spaces."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.positives import Positives
from pipeline.evaluate.settings import RetrievalTask
from pipeline.evaluate.sources import Folders
from pipeline.store import read_embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """One modality of the set.

    Attributes:
        keys: Of the N rows, ascending.
        items: Number of the item that each row shows [N].
        embeddings: By frozen space [N, D].
    """

    keys: list[str]
    items: np.ndarray
    embeddings: dict[str, np.ndarray]


@dataclass(frozen=True)
class EvaluationSet:
    """Two sides that show the same items; every method of a task is measured on exactly these."""

    sides: tuple[Side, Side]
    items: int
    positives: Positives


def load_set(task: RetrievalTask, spaces: tuple[Collection[str], Collection[str]], folders: Folders) -> EvaluationSet:
    """Read both modalities of `task`, each in `spaces`, and keep the items that all of them have.

    Raises:
        UserError: A store is missing, or the two modalities have no item in common.
    """
    tables = [
        {name: _by_key(folders, name, task.corpora.get(modality, task.corpus), modality) for name in sorted(names)}
        for modality, names in zip(task.modalities, spaces, strict=True)
    ]
    keys = [sorted(set.intersection(*(set(rows) for rows, _ in table.values()))) for table in tables]
    shown = [{_item(key, task.item_separator) for key in side} for side in keys]
    numbers = {item: number for number, item in enumerate(sorted(shown[0] & shown[1]))}
    if not numbers:
        raise UserError(
            f"The {task.modalities[0]} and {task.modalities[1]} of {task.corpus} have no item in common.",
            "Check that both modalities have the same keys, or set `item_separator`.",
        )
    sides = []
    for modality, side, table in zip(task.modalities, keys, tables, strict=True):
        kept = [key for key in side if _item(key, task.item_separator) in numbers]
        most = max(len(rows) for rows, _ in table.values())
        if len(kept) < most:
            log.info("%s: %d of %d %s items have a counterpart and are used", task.corpus, len(kept), most, modality)
        items = np.array([numbers[_item(key, task.item_separator)] for key in kept])
        found = {name: vectors[[rows[key] for key in kept]] for name, (rows, vectors) in table.items()}
        sides.append(Side(kept, items, found))
    positives = Positives.of_items([str(item) for item in sides[0].items], [str(item) for item in sides[1].items])
    return EvaluationSet((sides[0], sides[1]), len(numbers), positives)


def _by_key(folders: Folders, space: str, corpus: str, modality: str) -> tuple[dict[str, int], np.ndarray]:
    keys, vectors = read_embeddings([folders.store(space, corpus, modality)])
    return {key: row for row, key in enumerate(keys)}, vectors


def _item(key: str, separator: str) -> str:
    return key.rsplit(separator, 1)[0] if separator else key
