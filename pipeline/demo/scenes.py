"""Which scenes each corpus holds: no two scenes of the world have the same factors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.factors import FACTORS, SHARED_BY_IMAGE_AND_AUDIO, SHARED_BY_IMAGE_AND_POINT
from pipeline.hashing import seed_from

Levels = NDArray[np.int64]

# Each corpus owns one residue class of a permutation of all combinations of factors, so the size of
# one corpus never moves the scenes of another. Append only: the position is the residue.
CORPORA = (
    "photos",
    "sounds",
    "shapes",
    "captions",
    "heldout",
    "pairs",
    "pretrain-clip",
    "pretrain-clap",
    "pretrain-ulip",
)
COMBINATIONS = int(np.prod([len(levels) for levels in FACTORS.values()]))
LARGEST_CORPUS = COMBINATIONS // len(CORPORA)
LARGEST_HELDOUT = int(np.prod([len(FACTORS[factor]) for factor in SHARED_BY_IMAGE_AND_AUDIO]))


@dataclass(frozen=True)
class Scenes:
    """Scenes of one corpus.

    Attributes:
        corpus: One of `CORPORA`.
        keys: N permanent keys, without dots.
        levels: For each factor the level of each scene [N], an index into `FACTORS[factor]`.
    """

    corpus: str
    keys: tuple[str, ...]
    levels: dict[str, Levels]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> "Scenes":
        """The scenes from `start` to `stop`."""
        levels = {factor: column[start:stop] for factor, column in self.levels.items()}
        return Scenes(self.corpus, self.keys[start:stop], levels)


def draw(seed: int, corpus: str, count: int) -> Scenes:
    """Draw the `count` scenes of `corpus`; those of ``heldout`` differ in what image and audio share.

    Args:
        seed: Seed of the world.
        corpus: One of `CORPORA`.
        count: Number of scenes, at most `LARGEST_CORPUS` (for ``heldout`` `LARGEST_HELDOUT`).
    """
    order = np.random.default_rng(seed_from(seed, "scenes")).permutation(COMBINATIONS)
    combinations = order[CORPORA.index(corpus) :: len(CORPORA)]
    if corpus == "heldout":
        combinations = combinations[_first_of_each(_levels_of(combinations), SHARED_BY_IMAGE_AND_AUDIO)]
    if count > len(combinations):
        raise ValueError(f"{corpus} has only {len(combinations)} scenes, {count} were asked for")
    keys = tuple(f"{corpus}-{index:05d}" for index in range(count))
    return Scenes(corpus, keys, _levels_of(combinations[:count]))


def point_gallery(scenes: Scenes, limit: int) -> NDArray[np.bool_]:
    """Mark up to `limit` scenes that differ in what image and point cloud share: a gallery where rank 1 is clear.

    Returns:
        Marks [N] in the order of `scenes`.
    """
    marks = np.zeros(len(scenes), dtype=bool)
    marks[_first_of_each(scenes.levels, SHARED_BY_IMAGE_AND_POINT)[:limit]] = True
    return marks


def _levels_of(combinations: Levels) -> dict[str, Levels]:
    sizes = [len(levels) for levels in FACTORS.values()]
    return dict(zip(FACTORS, np.unravel_index(combinations, sizes), strict=True))


def _first_of_each(levels: dict[str, Levels], factors: tuple[str, ...]) -> Levels:
    """Positions, in order, where a combination of `factors` occurs for the first time."""
    sizes = tuple(len(FACTORS[factor]) for factor in factors)
    combined = np.ravel_multi_index(tuple(levels[factor] for factor in factors), sizes)
    return np.sort(np.unique(combined, return_index=True)[1])
