"""Pairs of the made-up method: two hops over the nearest sample of the overlapping modality."""

import numpy as np

from pipeline.retrieve.joined import JoinedPart, JoinedStores, SingleStores
from pipeline.retrieve.maker import Neighbour
from pipeline.retrieve.pair_set import PairSet, Sources
from pipeline.retrieve.settings import SearchSettings
from pipeline.store import Rows, read_embeddings


class NearestPairsSettings(SearchSettings):
    """Nothing to set beside the search."""


class NearestPairs:
    """Each sample of the first memory with one of the second; see `PairMaker`."""

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        first, second = pairs.link.spaces
        self._columns = pairs.link.memory_column(first), pairs.link.memory_column(second)
        self._queries = SingleStores(pairs.memory_stores(first))
        self.parts = self._queries.parts
        self.shared: Sources = {**pairs.overlap_sources, self._columns[1]: pairs.memory_stores(second)}
        captions = JoinedStores(pairs.link.spaces, pairs.query_stores(first), pairs.query_stores(second))
        self._near = np.concatenate([captions.first(part) for part in captions.parts])
        self._far = captions.second(captions.keys())
        self._keys, self._memory = read_embeddings(pairs.memory_stores(second))

    def _hop(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asks = self._far[(rows @ self._near.T).argmax(1)]
        scores = asks @ self._memory.T
        return scores.argmax(1), scores.max(1)

    def rows(self, part: JoinedPart) -> Rows:
        """The samples of `part` and their partners."""
        own = self._queries.embeddings(part)
        return Rows(list(part.keys), {self._columns[0]: own, self._columns[1]: self._memory[self._hop(own)[0]]}, {})

    def examples(self) -> list[Neighbour]:
        """The partners of the first samples."""
        part = self.parts[0]
        found, scores = self._hop(self._queries.embeddings(part)[:6])
        first, second = self._columns
        return [
            Neighbour(first, key, second, 1, self._keys[row], float(score), 1.0)
            for key, row, score in zip(part.keys, found, scores, strict=False)
        ]
