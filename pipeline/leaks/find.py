"""Whether something of an evaluation set is also in the corpora that a connection is trained on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from pipeline.leaks.tables import ALIKE, Likeness, kept_likeness, read_likeness, unit_looks
from pipeline.store.content.hashes import contents_of, read_contents
from pipeline.store.shards import open_shards

BYTES, CONTENT, LOOK, KEY = "bytes", "content", "look", "key"


@dataclass(frozen=True)
class Leak:
    """A sample of a corpus that is also in an evaluation set.

    Attributes:
        corpus: Where it is, though it should not be.
        key: Its key there.
        evaluation_key: Its key in the evaluation set.
        modality: Which of its members is the same; empty if only the keys are equal.
        reason: ``bytes``; ``content``: equal pixels, samples, points or words in another file; ``look``: a picture that
            looks like one of the set's; ``key``.
    """

    corpus: str
    key: str
    evaluation_key: str
    modality: str
    reason: str


def comparable(evaluation: Path, corpora: Iterable[Path]) -> list[Path]:
    """Those of the folders of shards whose samples could be in one another: the evaluation set's, and what has a modality
    in common with it; none if nothing has.

    Raises:
        UserError: A folder holds no finished shards, or such of an earlier version.
    """
    held = _modalities(evaluation)
    others = [folder for folder in corpora if held & _modalities(folder)]
    return [evaluation, *others] if others else []


def find_leaks(evaluation: Path, corpora: Mapping[str, Path], kept: Path) -> list[Leak]:
    """Samples of `corpora` that are one of the evaluation set's: by the raw bytes of a member, by what it holds, by its
    look, or by their key.

    Equal keys need not be equal samples where keys are row numbers, and pictures that look alike need not be the same.
    Shards that nobody has looked at are compared by bytes and key alone, see `look_at`.

    Args:
        evaluation: Folder of the evaluation set's shards.
        corpora: Folder of the shards of each corpus by its name.
        kept: Where it is kept what samples hold.

    Returns:
        In the order of the corpora; one for each member, of its strongest reason, in the order named above.

    Raises:
        UserError: A folder holds no finished shards, or such of an earlier version.
        CorruptError: A table of contents is damaged.
    """
    held: dict[tuple[str, bytes], str] = {}
    keys: set[str] = set()
    for key, modality, digest in read_contents(evaluation):
        keys.add(key)
        held.setdefault((modality, digest), key)
    likeness = {folder: _likeness(folder, kept) for folder in comparable(evaluation, corpora.values())}
    gallery = _Gallery(likeness.get(evaluation, ()))
    leaks: list[Leak] = []
    for name, folder in corpora.items():
        by_bytes, by_key = _by_contents(name, folder, held, keys)
        by_likeness = gallery.matches(name, likeness.get(folder, ()), {(leak.key, leak.modality) for leak in by_bytes})
        found = by_bytes + sorted(by_likeness, key=lambda leak: leak.reason == LOOK)
        known = {leak.key for leak in found}
        leaks += found + [leak for leak in by_key if leak.key not in known]
    return leaks


def _modalities(folder: Path) -> set[str]:
    contents_of(folder)
    held = open_shards(folder).fingerprint.get("modalities")
    return {str(modality) for modality in held} if isinstance(held, list) else set()


def _likeness(folder: Path, kept: Path) -> Iterator[list[Likeness]]:
    paths = (kept_likeness(kept / folder.name, shard) for shard in open_shards(folder).parts)
    return read_likeness(path for path in paths if path)


def _by_contents(
    name: str, folder: Path, held: Mapping[tuple[str, bytes], str], keys: set[str]
) -> tuple[list[Leak], list[Leak]]:
    by_bytes: list[Leak] = []
    by_key: list[Leak] = []
    for key, members in groupby(read_contents(folder), itemgetter(0)):
        by_bytes += [
            Leak(name, key, held[modality, digest], modality, BYTES)
            for _, modality, digest in members
            if (modality, digest) in held
        ]
        if key in keys:
            by_key.append(Leak(name, key, key, "", KEY))
    return by_bytes, by_key


class _Gallery:
    """What the evaluation set holds, to compare corpora with."""

    def __init__(self, batches: Iterable[list[Likeness]]) -> None:
        self._contents: dict[tuple[str, bytes], str] = {}
        self._keys: list[str] = []
        looks: list[bytes] = []
        for one in (one for batch in batches for one in batch):
            if one.content is not None:
                self._contents.setdefault((one.modality, one.content), one.key)
            if one.look is not None:
                self._keys.append(one.key)
                looks.append(one.look)
        self._looks = unit_looks(looks)

    def matches(self, name: str, batches: Iterable[list[Likeness]], known: set[tuple[str, str]]) -> Iterator[Leak]:
        """What else than `known` is in the set, in bounded memory."""
        for batch in batches:
            seen: list[Likeness] = []
            for one in batch:
                if (one.key, one.modality) in known:
                    continue
                if one.content is not None and (same := self._contents.get((one.modality, one.content))):
                    yield Leak(name, one.key, same, one.modality, CONTENT)
                elif one.look is not None:
                    seen.append(one)
            if seen and self._keys:
                alike = unit_looks(one.look for one in seen if one.look is not None) @ self._looks.T
                for row in np.flatnonzero(alike.max(axis=1) >= ALIKE):
                    best = self._keys[int(alike[row].argmax())]
                    yield Leak(name, seen[row].key, best, seen[row].modality, LOOK)


_SAID = {BYTES: "with the same bytes", CONTENT: "with the same content in another file", KEY: "by their keys"}


def described(evaluation: str, leaks: list[Leak]) -> list[str]:
    """Sentences for each corpus that shares samples with the evaluation set of that name; what only looks alike has one
    of its own."""
    said = []
    for corpus in dict.fromkeys(leak.corpus for leak in leaks):
        here = [leak for leak in leaks if leak.corpus == corpus]
        same = [leak for leak in here if leak.reason != LOOK]
        if same:
            said.append(_same(corpus, evaluation, same))
        if looks := [leak for leak in here if leak.reason == LOOK]:
            said.append(
                f"{_count(looks, 'picture')} of {corpus} {'looks' if _number(looks) == 1 else 'look'} like one of the "
                f"evaluation set {evaluation} (such as {looks[0].key} and {looks[0].evaluation_key}): the same in another size or compression, or much alike"
            )
    return said


def _same(corpus: str, evaluation: str, leaks: list[Leak]) -> str:
    verb = "is" if _number(leaks) == 1 else "are"
    share = f"{_count(leaks, 'sample')} of {corpus} {verb} also in the evaluation set {evaluation}"
    strong = {reason: [leak for leak in leaks if leak.reason == reason] for reason in (BYTES, CONTENT)}
    if not any(strong.values()):
        return f"{share} {_SAID[KEY]} (such as {leaks[0].key}); row numbers as keys may agree by chance"
    counts = [f"{_number(found):,} {_SAID[reason]}" for reason, found in strong.items() if found]
    example = next(found[0] for found in strong.values() if found)
    return f"{share}, {', '.join(counts)} (such as {example.key} = {example.evaluation_key})"


def _number(leaks: list[Leak]) -> int:
    return len({leak.key for leak in leaks})


def _count(leaks: list[Leak], noun: str) -> str:
    number = _number(leaks)
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
