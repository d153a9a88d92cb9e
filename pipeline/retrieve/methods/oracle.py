"""The oracle: true pairs instead of pseudo-pairs. It bounds what any method can reach and is never a result."""

from pipeline.errors import UserError
from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.maker import Neighbour
from pipeline.retrieve.pair_set import PairSet
from pipeline.store import Rows


class OraclePairs:
    """Rows are the keys that both memories have; see `PairMaker`. Nothing is retrieved and there are no examples.

    Raises:
        UserError: A control is asked for; there is no retrieval that it could break.
    """

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        if pairs.settings.control != "none":
            raise UserError(
                f"The oracle {pairs.link.label!r} has no control {pairs.settings.control!r}.",
                "Set retrieve.control to none, or use it in a connection whose method is cmcr.",
            )
        first, second = pairs.link.spaces
        self._columns = pairs.link.memory_column(first), pairs.link.memory_column(second)
        self._joined = JoinedStores(pairs.link.spaces, pairs.memory_stores(first), pairs.memory_stores(second))
        self.shared = pairs.memory_sources
        self.parts = self._joined.parts

    def rows(self, part: JoinedPart) -> Rows:
        """The embeddings of both spaces for the samples of `part`."""
        first, second = self._columns
        vectors = {first: self._joined.first(part), second: self._joined.second(part.keys)}
        return Rows(list(part.keys), vectors, {})

    def examples(self) -> list[Neighbour]:
        """None: a true pair has no neighbours."""
        return []
