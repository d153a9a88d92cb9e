"""A memory of one space, loaded and ready to be queried."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.retrieve.aggregate import Aggregate, aggregate
from pipeline.retrieve.neighbours import TopK, aggregate_top_k
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.store import read_embeddings


class Bank:
    """Embeddings that pseudo-partners are averaged from.

    On a GPU they are held and multiplied in float16, with float32 sums.

    Args:
        folders: Embedding stores of one space and modality.
        settings: How to retrieve.
        device: Where to compute.
        threads: Threads of FAISS.
        seed: Seed of an IVF index.
    """

    def __init__(
        self, folders: Sequence[Path], settings: RetrieveSettings, device: str, threads: int, seed: int
    ) -> None:
        self.keys, embeddings = read_embeddings(folders)
        self._settings = settings
        self._dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
        self.embeddings = torch.from_numpy(embeddings).to(device, self._dtype)
        self._index = self._build_index(threads, seed)

    def _build_index(self, threads: int, seed: int) -> TopK | None:
        settings = self._settings
        if settings.search == "exact":
            return None
        if settings.search == "flat":
            return TopK.flat(self.embeddings, settings.top_k, threads)
        lists, probes = settings.ivf_lists, settings.ivf_probes
        return TopK.ivf(self.embeddings, settings.top_k, lists, probes, threads, seed)

    def _queries(self, queries: np.ndarray) -> Tensor:
        return torch.from_numpy(queries).to(self.embeddings.device, self._dtype)

    def retrieve(self, queries: np.ndarray) -> Aggregate:
        """The softmax-weighted average of the memory for each of `queries` [Q, D]; see `Aggregate`."""
        prepared, memory = self._queries(queries), self.embeddings
        if self._index is None:
            return aggregate(prepared, memory, (memory,), self._settings.temperature)
        return aggregate_top_k(self._index, prepared, memory, (memory,), self._settings.temperature)

    def nearest(self, queries: np.ndarray, count: int) -> list[list[tuple[str, float, float]]]:
        """Key, score and weight in the softmax over the whole memory of each query's `count` best neighbours.

        Holds [Q, N] scores: for a handful of queries.
        """
        scores = self._queries(queries).float() @ self.embeddings.float().T
        weights = torch.softmax(scores / self._settings.temperature, 1)
        best = torch.topk(scores, min(count, len(self.keys)), 1)
        return [
            [(self.keys[row], float(score), float(weights[query, row])) for score, row in zip(top, rows, strict=True)]
            for query, (top, rows) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True))
        ]
