"""The softmax over the top k alone, found by a FAISS index, with the share of the whole softmax that it misses.

At temperature 0.01 the top 32 of two million cross-modal scores can hold less than half of the weight. So this is an
option and never the default, and what it leaves out is measured: Z comes from an exact pass over the memory.
"""

import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.retrieve.memory.aggregate import Aggregate, aggregate
from pipeline.retrieve.settings import SearchSettings

log = logging.getLogger(__name__)

# What FAISS finds for one query on a GPU; on a CPU it sorts as many as the memory has.
GPU_TOP_K = 2048
# Queries searched at a time: bounds the [queries, k] results, whatever the number of queries.
SEARCH_QUERIES = 4096


@dataclass(frozen=True)
class TopK:
    """A FAISS inner product index over a memory.

    Attributes:
        index: The FAISS index.
        k: Neighbours that a search returns; at most the rows of the memory.
    """

    index: Any
    k: int

    @classmethod
    def of(cls, settings: SearchSettings, keys: Tensor, threads: int, seed: int) -> "TopK":
        """The index over `keys` [N, D] that `settings`, whose search is not exact, ask for."""
        if settings.search == "flat":
            return cls.flat(keys, settings.top_k, threads)
        return cls.ivf(keys, settings.top_k, settings.ivf_lists, settings.ivf_probes, threads, seed)

    @classmethod
    def flat(cls, keys: Tensor, k: int, threads: int) -> "TopK":
        """An index that compares every query with every row of `keys` [N, D]."""
        faiss = _faiss(threads)
        _check_k(faiss, k, keys)
        index = _to_gpu(faiss, faiss.IndexFlatIP(keys.shape[1]), keys)
        index.add(_array(keys))
        return cls(index, min(k, len(keys)))

    @classmethod
    def ivf(cls, keys: Tensor, k: int, lists: int, probes: int, threads: int, seed: int) -> "TopK":
        """An index that visits the `probes` nearest of `lists` cells, which k-means draws with `seed`."""
        faiss = _faiss(threads)
        _check_k(faiss, k, keys)
        if lists > len(keys):
            raise UserError(
                f"retrieve.ivf_lists is {lists}, but the memory has {len(keys)} rows.",
                f"Lower it, to about {max(1, round(4 * len(keys) ** 0.5) // 4 * 4)} or less, or use search: flat.",
            )
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(keys.shape[1]), keys.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed % 2**31
        index.cp.spherical = True
        index.cp.min_points_per_centroid = 1  # small memories are legitimate; do not warn about them
        index.nprobe = min(probes, lists)
        rows = _array(keys)
        index.train(rows)
        index.add(rows)
        return cls(_to_gpu(faiss, index, keys), min(k, len(keys)))

    def search(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and row numbers [Q, k] of the nearest rows, best first; -inf and row 0 where fewer were found."""
        scores, rows = self.index.search(_array(queries), self.k)
        found = torch.from_numpy(rows) >= 0
        return (
            torch.from_numpy(scores).masked_fill_(~found, -torch.inf).to(queries.device),
            torch.from_numpy(rows).clamp_min_(0).to(queries.device),
        )


def aggregate_top_k(
    index: TopK, queries: Tensor, keys: Tensor, values: tuple[Tensor, ...], temperature: float
) -> Aggregate:
    """Average value memories over the top k of each query, with weights that sum to 1 over the k found.

    `log_normaliser`, `top_score` and `neighbours` describe the whole memory, exactly; `missed_mass` is
    1 - sum over the k found of exp(q . k / tau) / Z.

    Args:
        index: Built over `keys`.
        queries: [Q, D].
        keys: [N, D].
        values: Any number of [N, D_j], in the order of the keys.
        temperature: tau > 0.
    """
    exact = aggregate(queries, keys, (), temperature)
    vectors = [torch.empty(len(queries), value.shape[1], device=queries.device) for value in values]
    for start in range(0, len(queries), SEARCH_QUERIES):
        part = slice(start, start + SEARCH_QUERIES)
        scores, rows = index.search(queries[part])
        logits = scores / temperature
        found = torch.logsumexp(logits, 1)
        exact.missed_mass[part] = (-torch.expm1(found - exact.log_normaliser[part])).clamp_(0.0, 1.0)
        weights = torch.exp(logits - found[:, None])
        for out, value in zip(vectors, values, strict=True):
            # A bag sums weighted rows without holding [queries, k, D].
            out[part] = torch.nn.functional.embedding_bag(rows, value.float(), per_sample_weights=weights, mode="sum")
    return Aggregate(tuple(vectors), exact.log_normaliser, exact.top_score, exact.neighbours, exact.missed_mass)


def _array(rows: Tensor) -> Any:
    return rows.detach().float().cpu().contiguous().numpy()


def _faiss(threads: int) -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "retrieve.search needs FAISS, which is not installed.", "pip install faiss-cpu, or use search: exact."
        ) from error
    faiss.omp_set_num_threads(threads)
    module: ModuleType = faiss
    return module


def _searches_on_gpu(faiss: ModuleType, keys: Tensor) -> bool:
    return keys.is_cuda and getattr(faiss, "get_num_gpus", lambda: 0)() > 0


def _check_k(faiss: ModuleType, k: int, keys: Tensor) -> None:
    if min(k, len(keys)) > GPU_TOP_K and _searches_on_gpu(faiss, keys):
        raise UserError(
            f"retrieve.top_k is {k}, and FAISS finds at most {GPU_TOP_K} rows for a query on a GPU.",
            f"Set it to {GPU_TOP_K} or less, or use search: exact, which compares everything and is faster there.",
        )


def _to_gpu(faiss: ModuleType, index: Any, keys: Tensor) -> Any:
    """Move `index` to the GPU of `keys` where FAISS was built for it."""
    if not _searches_on_gpu(faiss, keys):
        if keys.is_cuda:
            log.warning(
                "This FAISS sees no GPU; it searches on the CPU. `make install EXTRA=gpu` installs one that does."
            )
        return index
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), keys.device.index or 0, index)
