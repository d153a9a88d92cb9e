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

from pipeline.retrieve.bank import Bank
from pipeline.retrieve.cmcr import CmcrPairs, search_of, statistics
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.joined import JoinedPart, JoinedStores, SingleStores
from pipeline.retrieve.method import EXAMPLE_NEIGHBOURS, Example, PairMethod, listed, spread
from pipeline.retrieve.plan import PairPlan
from pipeline.retrieve.settings import LeafRetrieveSettings
from pipeline.store import Rows

log = logging.getLogger(__name__)


def exmcr_pairs(plan: PairPlan, device: str, threads: int) -> PairMethod:
    """Pseudo-pairs of one leaf with the queries that ``plan.centre`` names; see `PairMethod`.

    The overlap-centric set is what C-MCR makes of the same link.
    """
    if plan.centre == "overlap":
        return CmcrPairs(plan, device, threads)
    return ChainedPairs(plan, device, threads)


class ChainedPairs:
    """The leaf-centric or the base-centric set: from a sample to the overlapping modality, and on to the other space.

    Control: ``shuffled_overlap`` gives every sample of the overlapping modality the leaf's embedding of another one.
    """

    def __init__(self, plan: PairPlan, device: str, threads: int) -> None:
        base, leaf = plan.spaces
        self._plan = plan
        # The space that the queries come from, and the one in which they get a partner at the end of the chain.
        self._near, self._far = (leaf, base) if plan.centre == "leaf" else (base, leaf)
        self._queries = SingleStores(plan.memories[self._near].folders)
        self.parts = self._queries.parts
        keys, copies = _copies(plan)
        search = search_of(plan, self._near, device, threads)
        self._bridge = Bank(keys, copies[self._near], search, copy=copies[self._far])
        settings = plan.settings
        self._renormalise = isinstance(settings, LeafRetrieveSettings) and settings.renormalise_chain
        self._memory = Bank.read(plan.memories[self._far].folders, search_of(plan, self._far, device, threads))

    def rows(self, part: JoinedPart) -> Rows:
        """Queries, averages and statistics of both softmaxes for the samples of `part`."""
        plan, near, far = self._plan, self._near, self._far
        queries = self._queries.embeddings(part)
        bridge = self._bridge.retrieve(queries)
        overlap_near, overlap_far = (average.cpu().numpy() for average in bridge.vectors)
        partner = self._memory.retrieve(self._ask(overlap_far))
        vectors = {
            plan.memory_column(near): queries,
            plan.overlap_column(near): overlap_near,
            plan.overlap_column(far): overlap_far,
            plan.memory_column(far): partner.vectors[0].cpu().numpy(),
        }
        numbers = statistics(plan.overlap_column(near), bridge) | statistics(plan.memory_column(far), partner)
        return Rows(list(part.keys), vectors, numbers)

    def examples(self) -> list[Example]:
        """The best neighbours of evenly spread queries, at both links of the chain."""
        plan, found = self._plan, list[Example]()
        for part, rows in spread(self.parts):
            queries = self._queries.embeddings(part)[rows]
            ask = self._ask(self._bridge.retrieve(queries).vectors[1].cpu().numpy())
            nearest = {
                plan.overlap_column(self._near): self._bridge.nearest(queries, EXAMPLE_NEIGHBOURS),
                plan.memory_column(self._far): self._memory.nearest(ask, EXAMPLE_NEIGHBOURS),
            }
            found += listed([part.keys[row] for row in rows], nearest)
        return found

    def _ask(self, averages: np.ndarray) -> np.ndarray:
        """What the second memory is asked with: the averages [n, D] as they are, or at unit length."""
        if not self._renormalise:
            return averages
        return np.asarray(averages / np.linalg.norm(averages, axis=1, keepdims=True), np.float32)


def _copies(plan: PairPlan) -> tuple[list[str], dict[str, np.ndarray]]:
    """Keys of the overlapping modality and their embeddings [T, D] in both spaces, row by row the same samples."""
    base, leaf = plan.spaces
    joined = JoinedStores(plan.spaces, plan.query_stores(base), plan.query_stores(leaf))
    rejected = sum(len(part.rejected) for part in joined.parts)
    if rejected:
        log.info("%s: %d samples are known to one of %s and %s only", plan.connection, rejected, base, leaf)
    keys = joined.keys()
    first = np.concatenate([joined.first(part) for part in joined.parts])
    second = joined.second(keys)
    if plan.settings.control == "shuffled_overlap":
        second = second[strangers(len(keys), plan.seed, plan.connection, plan.settings.control)]
    return keys, {base: first, leaf: second}
