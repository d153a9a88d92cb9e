"""Samples of one modality and classes described by prompts, in memory."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.sets.annotations import class_key, read_labels
from pipeline.evaluate.sets.items import load_embeddings
from pipeline.evaluate.sets.named import by_sample
from pipeline.evaluate.settings import TEXT, PromptedTask
from pipeline.evaluate.views import unit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassSet:
    """What a prompted task is measured on.

    Attributes:
        samples: Embeddings of the N samples by frozen space [N, D].
        prompts: Embeddings of the T prompts by frozen space [T, D].
        class_of_prompt: Class of each prompt [T], from 0 to C - 1.
        classes: Keys of the C classes, ascending.
        labels: By sample, its classes, ascending; at least one each.
    """

    samples: dict[str, np.ndarray]
    prompts: dict[str, np.ndarray]
    class_of_prompt: np.ndarray
    classes: list[str]
    labels: list[list[int]]

    def class_embeddings(self, prompts: np.ndarray) -> np.ndarray:
        """Unit rows [C, E]: of each class the normalised mean of its normalised prompts [T, E]."""
        sums = np.zeros((len(self.classes), prompts.shape[1]))
        np.add.at(sums, self.class_of_prompt, unit(prompts).astype(np.float64))
        return unit(sums)


def load_classes(task: PromptedTask, spaces: tuple[Collection[str], Collection[str]], folders: Folders) -> ClassSet:
    """Read samples and prompts of `task`, each in `spaces`; samples without a class are left out.

    Raises:
        UserError: A store or the labels are missing, a class has no prompt, or no sample has a class.
    """
    keys, samples = load_embeddings(folders, spaces[0], task.corpus, task.modality)
    prompt_keys, prompts = load_embeddings(folders, spaces[1], task.prompts, TEXT)
    named = [key.rsplit(task.prompt_separator, 1)[0] for key in prompt_keys]
    classes = sorted(set(named))
    number = {name: at for at, name in enumerate(classes)}
    said = read_labels(folders.with_tables(task.labels.table), task.labels)
    table = by_sample(said, {key: key for key in keys}, task.labels.table, task.corpus)
    rows = [row for row, key in enumerate(keys) if table.get(key)]
    if not rows:
        raise UserError(
            f"No sample of {task.corpus} has a class in the column {task.labels.column!r} (such as {', '.join(keys[:2])}).",
            "Check that the keys of the labels are those of the samples, or the paths of their files.",
        )
    _check_classes(task, {name for row in rows for name in table[keys[row]]}, number)
    if len(rows) < len(keys):
        without = [key for key in keys if not table.get(key)]
        log.warning(
            "%s: %d of %d samples have a class and are used; %s has none for %s",
            task.corpus, len(rows), len(keys), task.labels.table, ", ".join(without[:2]),
        )  # fmt: skip
    labels = [sorted({number[class_key(name)] for name in table[keys[row]]}) for row in rows]
    kept = {space: vectors[rows] for space, vectors in samples.items()}
    return ClassSet(kept, prompts, np.array([number[name] for name in named]), classes, labels)


def _check_classes(task: PromptedTask, names: set[str], number: dict[str, int]) -> None:
    known: dict[str, str] = {}
    for name in sorted(names):
        key = class_key(name)
        if key not in number:
            raise UserError(
                f"The class {name!r} has no prompt in {task.prompts} (it has {', '.join(list(number)[:5])}, ...).",
                f"Give its prompts the keys {key}{task.prompt_separator}0, {key}{task.prompt_separator}1, ...",
            )
        if known.setdefault(key, name) != name:
            raise UserError(
                f"The classes {known[key]!r} and {name!r} have the same prompts {key}.", "Rename one of them."
            )
