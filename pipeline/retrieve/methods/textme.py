"""What TextME needs: texts in the leaf and in its anchor, and the mean of each modality of the leaf.

Set ``texts``: the overlapping modality as both spaces embed it, a part at a time. Set ``means``: one part, a row for each
modality of the leaf, keyed ``clap_audio``, with the mean embedding ``clap_mean`` of its unpaired samples. Nothing is searched and no
sample meets another one.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.hashing import sha256_json
from pipeline.retrieve.joined import JoinedPart
from pipeline.retrieve.maker import Neighbour, PairMaker
from pipeline.retrieve.methods.bridge import Texts
from pipeline.retrieve.pair_set import PairSet, Sources, stores_hash
from pipeline.store import EMBEDDING_COLUMN, Rows, open_placed


def textme_pairs(pairs: PairSet, device: str, threads: int) -> PairMaker:
    """What makes the set of `pairs`."""
    return Texts(pairs) if pairs.name == "texts" else LeafMeans(pairs)


class LeafMeans:
    """Mean embeddings of both modalities of the leaf; see `PairMaker`."""

    def __init__(self, pairs: PairSet) -> None:
        _, self._leaf = pairs.link.spaces
        self._stores = {
            pairs.link.memory_column(self._leaf): pairs.memory_stores(self._leaf),
            pairs.link.overlap_column(self._leaf): pairs.query_stores(self._leaf),
        }
        self.shared: Sources = self._stores
        source = sha256_json([stores_hash(folders) for folders in self._stores.values()])
        self.parts = [JoinedPart("part-00000.parquet", source, list(self._stores), 0, ())]

    def rows(self, part: JoinedPart) -> Rows:
        """The means, summed in float64, a part of a store at a time."""
        means = [self._mean(column) for column in part.keys]
        return Rows(list(part.keys), {f"{self._leaf}_mean": np.stack(means).astype(np.float32)}, {})

    def _mean(self, column: str) -> np.ndarray:
        total, count = 0.0, 0
        for rows in self._blocks(column):
            total, count = total + rows.sum(0, dtype=np.float64), count + len(rows)
        return np.asarray(total / count)

    def _blocks(self, column: str) -> Iterator[np.ndarray]:
        for folder in self._stores[column]:
            for _, rows in open_placed(folder).parts([EMBEDDING_COLUMN]):
                yield rows.vectors[EMBEDDING_COLUMN]

    def examples(self) -> list[Neighbour]:
        """None: nothing is looked up."""
        return []
