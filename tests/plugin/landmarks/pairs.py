"""What the made-up method keeps: the overlapping modality as both spaces embed it."""

from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.maker import Neighbour
from pipeline.retrieve.pair_set import PairSet, Sources
from pipeline.retrieve.settings import SearchSettings
from pipeline.store import Rows


class LandmarkPairsSettings(SearchSettings):
    """Nothing to set beside the search."""


class LandmarkPairs:
    """See `PairMaker`."""

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        first, second = pairs.link.spaces
        self._columns = pairs.link.overlap_column(first), pairs.link.overlap_column(second)
        self._joined = JoinedStores(pairs.link.spaces, pairs.query_stores(first), pairs.query_stores(second))
        self.parts = self._joined.parts
        self.shared: Sources = {}

    def rows(self, part: JoinedPart) -> Rows:
        """The captions of `part` in both spaces."""
        first, second = self._columns
        return Rows(list(part.keys), {first: self._joined.first(part), second: self._joined.second(part.keys)}, {})

    def examples(self) -> list[Neighbour]:
        """None: nothing is looked up."""
        return []
