"""What the pairs of a link cost: bytes on disk, and floating-point operations of the searches that make them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.links import Link
from pipeline.plan.work import FLOAT_BYTES

# Samples of which the mean profile is taken, at most (`pipeline.retrieve.methods.bridge`).
MEAN_ROWS = 8192


@dataclass(frozen=True)
class Cost:
    """Bytes to be written and floating-point operations to be done."""

    bytes: float
    operations: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.bytes + other.bytes, self.operations + other.operations)


@dataclass(frozen=True)
class Sizes:
    """How much a link joins.

    Attributes:
        queries: Samples of the overlapping modality.
        items: By space: samples of its memory.
        widths: By space: width of its embeddings.
        draws: Partners that are drawn for each sample, where they are drawn.
    """

    queries: int
    items: Mapping[str, int]
    widths: Mapping[str, int]
    draws: int = 1

    @property
    def row(self) -> int:
        """Bytes of an embedding in either space."""
        return FLOAT_BYTES * sum(self.widths.values())


class _CostOf(Protocol):
    def __call__(self, link: Link, name: str, sizes: Sizes) -> Cost: ...


def averaged(link: Link, name: str, sizes: Sizes) -> Cost:
    """Every query meets every sample of a memory twice, for the similarity and for the average.

    In the sets `leaf` and `base` the queries are one memory: they meet the overlapping modality, which is averaged in both
    spaces, and the averages meet the other memory.
    """
    first, second = link.spaces
    if name not in ("leaf", "base"):
        operations = 4 * sizes.queries * sum(sizes.items[space] * sizes.widths[space] for space in link.spaces)
        return Cost(2 * sizes.queries * sizes.row, operations)
    near, far = (second, first) if name == "leaf" else (first, second)
    asking = sizes.items[near]
    bridge = 2 * asking * sizes.queries * (2 * sizes.widths[near] + sizes.widths[far])
    return Cost(2 * asking * sizes.row, bridge + 4 * asking * sizes.items[far] * sizes.widths[far])


def drawn(link: Link, name: str, sizes: Sizes) -> Cost:
    """Every sample meets the overlapping modality, which is averaged in the other space, and all of the other memory.

    Where one of the memories is of the overlapping modality itself, there is only the second meeting.
    """
    both = sum(sizes.widths.values())
    profiles = 2 * sizes.queries * sum(sizes.items.values()) * both
    partners = 2 * 2 * sizes.items[link.spaces[0]] * sizes.items[link.spaces[1]] * both
    samples = sum(count * (sizes.widths[space] + sizes.draws) for space, count in sizes.items.items())
    if hop := link.overlapping_memory:
        [there] = [space for space in link.spaces if space != hop]
        one_space = partners * sizes.widths[there] / both
        return Cost(FLOAT_BYTES * (samples + sizes.items[hop] * sizes.widths[there]), one_space)
    return Cost(FLOAT_BYTES * samples + sizes.queries * sizes.row, profiles + partners)


def true(link: Link, name: str, sizes: Sizes) -> Cost:
    """Nothing is searched: the samples of both memories are written side by side."""
    return Cost(min(sizes.items.values()) * sizes.row, 0.0)


def nothing(link: Link, name: str, sizes: Sizes) -> Cost:
    """The overlapping modality as both spaces embed it, at most; nothing is searched.

    Set `means` holds four rows: the means of a sample of each memory, and of the overlapping modality in each space.
    """
    if name != "means":
        return Cost(sizes.queries * sizes.row, 0.0)
    asking = sum(min(count, MEAN_ROWS) + min(sizes.queries, MEAN_ROWS) for count in sizes.items.values())
    return Cost(4 * sizes.row, 2 * asking * sizes.queries * sum(sizes.widths.values()))


def texts(link: Link, name: str, sizes: Sizes) -> Cost:
    """The overlapping modality as both spaces embed it, and two means of the leaf; nothing is searched."""
    leaf = link.spaces[1]
    return Cost(2 * FLOAT_BYTES * sizes.widths[leaf] if name == "means" else sizes.queries * sizes.row, 0.0)


# By `Method.pairs`. FAISS saves no operations: the normaliser of the softmax comes from a pass over the whole memory.
COSTS: dict[str, _CostOf] = {"averaged": averaged, "drawn": drawn, "true": true, "texts": texts, "none": nothing}


def cost_of(link: Link, kind: str, sizes: Sizes) -> Cost:
    """The cost of all sets of `link`, whose pairs are of `kind` (`Method.pairs`)."""
    total = Cost(0.0, 0.0)
    for name in link.sets:
        total += COSTS[kind](link, name, sizes)
    return total
