"""A memory of one space, loaded and ready to be queried."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.precision import dtype_of, multiplying
from pipeline.retrieve.memory.aggregate import Aggregate, aggregate
from pipeline.retrieve.memory.divided import Divided, devices_beside, placed
from pipeline.retrieve.memory.neighbours import TopK, aggregate_top_k
from pipeline.retrieve.memory.products import resolved
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.store import read_placed


@dataclass(frozen=True)
class Search:
    """How and where a memory is searched.

    Attributes:
        settings: How to retrieve.
        device: Where to compute.
        threads: Threads of FAISS.
        seed: Seed of an IVF index.
        name: Of the memory, for the log.
    """

    settings: RetrieveSettings
    device: str
    threads: int
    seed: int
    name: str = "the queries"


class Bank:
    """Embeddings that pseudo-partners are averaged from.

    They are held and multiplied in the precision of the settings, with float32 sums.

    Args:
        keys: Of the N samples.
        embeddings: [N, D], which queries are compared with.
        search: How.
        copy: The same samples as another space embeds them, [N, E]: averaged with the same weights.
    """

    def __init__(self, keys: list[str], embeddings: np.ndarray, search: Search, copy: np.ndarray | None = None) -> None:
        self.keys = keys
        self._settings = search.settings
        self._dtype = dtype_of(resolved(search.settings.precision, search.device))
        devices = devices_beside(search.device)
        self._home = devices[0]
        tables = [torch.from_numpy(rows).to(self._dtype) for rows in (embeddings, copy) if rows is not None]
        self._values = placed(f"the memory of {search.name}", tables, devices)
        self.embeddings = self._values[0]
        self._index = self._build_index(search.threads, search.seed)

    @classmethod
    def read(cls, folders: Sequence[Path], search: Search) -> "Bank":
        """The memory in embedding stores of one space and modality."""
        return cls(*read_placed(folders), search)

    def _build_index(self, threads: int, seed: int) -> TopK | None:
        settings = self._settings
        if settings.search == "exact":
            return None
        if isinstance(self.embeddings, Divided):
            raise UserError(
                f"retrieve.search is {settings.search}, and the memory does not fit on one device.",
                "Use search: exact, which divides it and compares everything.",
            )
        return TopK.of(settings, self.embeddings, threads, seed)

    def _queries(self, queries: np.ndarray) -> Tensor:
        return torch.from_numpy(queries).to(self._home, self._dtype)

    def retrieve(self, queries: np.ndarray) -> Aggregate:
        """The softmax-weighted averages of the memory, and of its copy, for `queries` [Q, D]; see `Aggregate`."""
        prepared, memory, values = self._queries(queries), self.embeddings, tuple(self._values)
        if self._index is None:
            return aggregate(prepared, memory, values, self._settings.temperature)
        assert isinstance(memory, Tensor)
        whole = tuple(value for value in values if isinstance(value, Tensor))
        return aggregate_top_k(self._index, prepared, memory, whole, self._settings.temperature)

    @multiplying()
    def nearest(self, queries: np.ndarray, count: int) -> list[list[tuple[str, float, float]]]:
        """Key, score and weight in the softmax over the whole memory of each query's `count` best neighbours.

        Holds [Q, N] scores: for a handful of queries.
        """
        pieces = self.embeddings.pieces if isinstance(self.embeddings, Divided) else (self.embeddings,)
        asked = self._queries(queries).float()
        scores = torch.cat([(asked.to(piece.device) @ piece.float().T).to(self._home) for piece in pieces], 1)
        return best_of(scores, self._settings.temperature, self.keys, count)


def best_of(
    scores: Tensor, temperature: float, keys: Sequence[str], count: int
) -> list[list[tuple[str, float, float]]]:
    """Key, score and weight in softmax(scores / temperature) of the `count` highest of each row of `scores` [Q, N]."""
    weights = torch.softmax(scores / temperature, 1)
    best = torch.topk(scores, min(count, len(keys)), 1)
    return [
        [(keys[row], score, float(weights[query, row])) for score, row in zip(top, rows, strict=True)]
        for query, (top, rows) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True))
    ]
