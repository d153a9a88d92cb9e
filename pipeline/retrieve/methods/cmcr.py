"""C-MCR: each query of the overlapping modality gets an averaged partner from each space's memory.

For a text t, embedded as t_1 by the first space and t_2 by the second, a row holds t_1, t_2 and the averages
m_i = softmax(t_i M_i^T / tau) M_i over the memories M_1 and M_2 (C-MCR, section 3.2, equations of the semantic consistency).
"""

import numpy as np

from pipeline.hashing import seed_from
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.maker import EXAMPLE_NEIGHBOURS, Neighbour, listed, spread
from pipeline.retrieve.memory.aggregate import Aggregate
from pipeline.retrieve.memory.bank import Bank, Search
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.store import Rows


class CmcrPairs:
    """Pseudo-pairs of C-MCR; see `PairMaker`.

    Controls: ``shuffled_overlap`` gives every query the second space's embedding of another one, in the table and
    for the retrieval; ``random_partners`` leaves the queries alone and gives each the second memory's average of
    another one.
    """

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        self._pairs, self._link = pairs, pairs.link
        first, second = pairs.link.spaces
        self._joined = JoinedStores(pairs.link.spaces, pairs.query_stores(first), pairs.query_stores(second))
        self.parts = self._joined.parts
        # A control that shuffles over all queries makes each part depend on all of them.
        shuffles = pairs.settings.control != "none"
        self.shared = {**pairs.memory_sources, **(pairs.overlap_sources if shuffles else {})}
        self._banks = {
            space: Bank.read(pairs.memory_stores(space), search_of(pairs, space, device, threads))
            for space in pairs.link.spaces
        }
        self._strangers, self._all_second = self._control()

    def _control(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        control = self._pairs.settings.control
        if control == "none":
            return None, None
        # A partner can come from any part, so a control holds the second space's queries whole.
        partners = strangers(self._joined.rows, self._pairs.seed, self._link.label, control)
        return partners, self._joined.second(self._joined.keys())

    def _queries(self, part: JoinedPart) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Overlap embeddings of both spaces, and those that the second memory is asked with."""
        first = self._joined.first(part)
        if self._strangers is None or self._all_second is None:
            second = self._joined.second(part.keys)
            return first, second, second
        place = slice(part.first_row, part.first_row + len(part.keys))
        other = self._all_second[self._strangers[place]]
        if self._pairs.settings.control == "shuffled_overlap":
            return first, other, other
        return first, self._all_second[place], other

    def rows(self, part: JoinedPart) -> Rows:
        """Queries, averages and statistics of the softmax for the samples of `part`."""
        link = self._link
        overlap_first, overlap_second, ask_second = self._queries(part)
        vectors: dict[str, np.ndarray] = {}
        numbers: dict[str, np.ndarray] = {}
        asks = (overlap_first, ask_second)
        for space, overlap, ask in zip(link.spaces, (overlap_first, overlap_second), asks, strict=True):
            result = self._banks[space].retrieve(ask)
            vectors[link.overlap_column(space)] = overlap
            vectors[link.memory_column(space)] = result.vectors[0].cpu().numpy()
            numbers |= statistics(link.memory_column(space), result)
        return Rows(list(part.keys), vectors, numbers)

    def examples(self) -> list[Neighbour]:
        """The best neighbours of queries that are spread evenly over all rows."""
        found: list[Neighbour] = []
        for part, rows in spread(self.parts):
            overlap_first, _, ask_second = self._queries(part)
            nearest = {
                self._link.memory_column(space): self._banks[space].nearest(ask[rows], EXAMPLE_NEIGHBOURS)
                for space, ask in zip(self._link.spaces, (overlap_first, ask_second), strict=True)
            }
            found += listed(self._link.overlap_column(self._link.spaces[0]), [part.keys[row] for row in rows], nearest)
        return found


def search_of(pairs: PairSet, space: str, device: str, threads: int) -> Search:
    """How the memory of `space` is searched."""
    assert isinstance(pairs.settings, RetrieveSettings)
    return Search(pairs.settings, device, threads, seed_from(pairs.seed, pairs.link.label, "index", space), space)


def statistics(column: str, result: Aggregate) -> dict[str, np.ndarray]:
    """The number columns that describe how `column` was retrieved."""
    numbers = {"neighbours": result.neighbours, "top_score": result.top_score, "missed_mass": result.missed_mass}
    return {f"{column}_{name}": values.double().cpu().numpy() for name, values in numbers.items()}
