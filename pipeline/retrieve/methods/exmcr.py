"""Ex-MCR: pseudo-pairs between a base and one of its leaves, with each modality in turn as the query.

Base (I) and leaf (A) both embed the overlapping modality, t^I and t^A; the base's memory holds v^I, the leaf's a^A.
Every row has all four. With S(q, M) = softmax(q M^T / tau) over a whole memory (Ex-MCR, section 3.2)::

    overlap-centric, query t:  t^I, t^A;          a^A = S(t^A, A) A;    v^I = S(t^I, V) V
    leaf-centric, query a^A:   w = S(a^A, T^A);   t^A = w T^A, t^I = w T^I;   v^I = S(t^I, V) V
    base-centric, query v^I:   w = S(v^I, T^I);   t^I = w T^I, t^A = w T^A;   a^A = S(t^A, A) A

The weights found in one space are used in the other space's copy of the same samples: rows are joined by key.
"""

import logging

import numpy as np

from pipeline.retrieve.controls import strangers
from pipeline.retrieve.joined import JoinedPart, JoinedStores, SingleStores
from pipeline.retrieve.maker import EXAMPLE_NEIGHBOURS, Neighbour, PairMaker, listed, spread
from pipeline.retrieve.memory.bank import Bank
from pipeline.retrieve.methods.cmcr import CmcrPairs, search_of, statistics
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import LeafRetrieveSettings
from pipeline.store import Rows

log = logging.getLogger(__name__)


def exmcr_pairs(pairs: PairSet, device: str, threads: int) -> PairMaker:
    """Pseudo-pairs of one leaf with the queries that the name of the set says; see `PairMaker`.

    The overlap-centric set is what C-MCR makes of the same link.
    """
    return (CmcrPairs if pairs.name == "overlap" else ChainedPairs)(pairs, device, threads)


class ChainedPairs:
    """The leaf-centric or the base-centric set: from a sample to the overlapping modality, and on to the other space.

    Control: ``shuffled_overlap`` gives every sample of the overlapping modality the leaf's embedding of another one.
    """

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        base, leaf = pairs.link.spaces
        self._link = pairs.link
        # The space that the queries come from, and the one in which they get a partner at the end of the chain.
        self._near, self._far = (leaf, base) if pairs.name == "leaf" else (base, leaf)
        self._queries = SingleStores(pairs.memory_stores(self._near))
        self.parts = self._queries.parts
        self.shared = {**pairs.overlap_sources, pairs.link.memory_column(self._far): pairs.memory_stores(self._far)}
        keys, copies = _copies(pairs)
        search = search_of(pairs, self._near, device, threads)
        self._bridge = Bank(keys, copies[self._near], search, copy=copies[self._far])
        settings = pairs.settings
        self._renormalise = isinstance(settings, LeafRetrieveSettings) and settings.renormalise_chain
        self._memory = Bank.read(pairs.memory_stores(self._far), search_of(pairs, self._far, device, threads))

    def rows(self, part: JoinedPart) -> Rows:
        """Queries, averages and statistics of both softmaxes for the samples of `part`."""
        link, near, far = self._link, self._near, self._far
        queries = self._queries.embeddings(part)
        bridge = self._bridge.retrieve(queries)
        overlap_near, overlap_far = (average.cpu().numpy() for average in bridge.vectors)
        partner = self._memory.retrieve(self._ask(overlap_far))
        vectors = {
            link.memory_column(near): queries,
            link.overlap_column(near): overlap_near,
            link.overlap_column(far): overlap_far,
            link.memory_column(far): partner.vectors[0].cpu().numpy(),
        }
        numbers = statistics(link.overlap_column(near), bridge) | statistics(link.memory_column(far), partner)
        return Rows(list(part.keys), vectors, numbers)

    def examples(self) -> list[Neighbour]:
        """The best neighbours of evenly spread queries, at both links of the chain."""
        link, found = self._link, list[Neighbour]()
        for part, rows in spread(self.parts):
            queries = self._queries.embeddings(part)[rows]
            ask = self._ask(self._bridge.retrieve(queries).vectors[1].cpu().numpy())
            nearest = {
                link.overlap_column(self._near): self._bridge.nearest(queries, EXAMPLE_NEIGHBOURS),
                link.memory_column(self._far): self._memory.nearest(ask, EXAMPLE_NEIGHBOURS),
            }
            found += listed(link.memory_column(self._near), [part.keys[row] for row in rows], nearest)
        return found

    def _ask(self, averages: np.ndarray) -> np.ndarray:
        """What the second memory is asked with: the averages [n, D] as they are, or at unit length."""
        if not self._renormalise:
            return averages
        return np.asarray(averages / np.linalg.norm(averages, axis=1, keepdims=True), np.float32)


def _copies(pairs: PairSet) -> tuple[list[str], dict[str, np.ndarray]]:
    """Keys of the overlapping modality and their embeddings [T, D] in both spaces, row by row the same samples."""
    base, leaf = pairs.link.spaces
    joined = JoinedStores(pairs.link.spaces, pairs.query_stores(base), pairs.query_stores(leaf))
    rejected = sum(len(part.rejected) for part in joined.parts)
    if rejected:
        log.info("%s: %d samples are known to one of %s and %s only", pairs.link.label, rejected, base, leaf)
    keys = joined.keys()
    first = np.concatenate([joined.first(part) for part in joined.parts])
    second = joined.second(keys)
    if pairs.settings.control == "shuffled_overlap":
        second = second[strangers(len(keys), pairs.seed, pairs.link.label, pairs.settings.control)]
    return keys, {base: first, leaf: second}
