"""What the training-free bridge needs: the overlapping modality in both spaces, and the means of what is compared.

Set ``texts``: the overlapping modality as both spaces embed it, a part at a time. Set ``means``: one part for each space, a row
for each modality, keyed ``clip_image``, with the mean embedding ``clip_own`` and the mean profile ``clip_profile`` in the
other space. The manifest holds the temperatures. All of it is streamed: millions of texts need the memory of a few parts.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.connect.text_profile import entropies, profiles
from pipeline.hashing import seed_from, sha256_json
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.maker import Neighbour, PairMaker
from pipeline.retrieve.memory.perplexity import SAMPLE_QUERIES, solve
from pipeline.retrieve.pair_set import PairSet, Sources, stores_hash
from pipeline.retrieve.settings import BridgeRetrieveSettings
from pipeline.store import EMBEDDING_COLUMN, Rows, open_placed

# The mean of a memory's profiles needs no more samples than this.
MEAN_ROWS = 8192
BLOCK_ROWS = 2048
HALVINGS_PER_PASS = 3


def bridge_pairs(pairs: PairSet, device: str, threads: int) -> PairMaker:
    """What makes the set of `pairs`."""
    return Texts(pairs) if pairs.name == "texts" else Means(pairs, device)


class Texts:
    """The overlapping modality in both spaces; see `PairMaker`.

    Control ``shuffled_overlap`` gives every text another one's embedding in the second space.
    """

    def __init__(self, pairs: PairSet) -> None:
        first, second = pairs.link.spaces
        self.columns = pairs.link.overlap_column(first), pairs.link.overlap_column(second)
        self._joined = JoinedStores(pairs.link.spaces, pairs.query_stores(first), pairs.query_stores(second))
        self.parts, self.count = self._joined.parts, self._joined.rows
        self._shuffled: list[str] = []
        self.shared: Sources = {}
        if pairs.settings.control == "shuffled_overlap":
            order = strangers(self.count, pairs.seed, pairs.link.label, "shuffled_overlap")
            keys = self._joined.keys()
            self._shuffled = [keys[row] for row in order]
            self.shared = pairs.overlap_sources

    def rows(self, part: JoinedPart) -> Rows:
        """The texts of `part` in both spaces."""
        first, second = self.columns
        read = self._shuffled[part.first_row : part.first_row + len(part.keys)] or list(part.keys)
        return Rows(list(part.keys), {first: self._joined.first(part), second: self._joined.second(read)}, {})

    def examples(self) -> list[Neighbour]:
        """None: nothing is looked up."""
        return []


class Means:
    """Mean embeddings and mean profiles, by space and modality; see `PairMaker`.

    Attributes:
        solved: The temperature of each space's profiles, for the manifest.
    """

    def __init__(self, pairs: PairSet, device: str) -> None:
        assert isinstance(pairs.settings, BridgeRetrieveSettings)
        self._pairs, self._link, self._settings = pairs, pairs.link, pairs.settings
        self._texts, self._device = Texts(pairs), torch.device(device)
        self.shared: Sources = {**pairs.memory_sources, **pairs.overlap_sources}
        source = sha256_json([stores_hash(folders) for folders in self.shared.values()])
        self.parts = [
            JoinedPart(f"{space}-00000.parquet", source, keys, first_row, ())
            for space, first_row in zip(self._link.spaces, (0, 2), strict=True)
            # The same modality once, where a memory is of the overlapping one.
            for keys in [[*dict.fromkeys((self._link.memory_column(space), self._link.overlap_column(space)))]]
        ]

    @cached_property
    def solved(self) -> dict[str, float]:
        """Temperature of each space's profiles (``profile_clip``)."""
        return {f"profile_{space}": self._temperature(space) for space in self._link.spaces}

    def _temperature(self, space: str) -> float:
        rows = self._samples[space][1]
        seed = seed_from(self._pairs.seed, self._link.label, "profile sample", space)
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:SAMPLE_QUERIES]
        asking = rows[chosen.sort().values]

        def mean_entropies(tried: Sequence[float]) -> list[float]:
            blocks = (here for here, _ in self._blocks(space))
            return [float(found.double().mean()) for found in entropies(asking, blocks, tried)]

        what = f"connections.{self._link.connection}.retrieve.profile"
        return solve(self._settings.profile, mean_entropies, self._texts.count, what, HALVINGS_PER_PASS)

    def _blocks(self, space: str) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._texts.columns if space == self._link.spaces[0] else self._texts.columns[::-1]
        for part in self._texts.parts:
            vectors = self._texts.rows(part).vectors
            here, there = (torch.from_numpy(vectors[column]).to(self._device) for column in order)
            yield here, there

    @cached_property
    def _samples(self) -> dict[str, tuple[np.ndarray, Tensor]]:
        """By space: the mean [D] of the whole memory and evenly spread samples of it [S, D]."""
        return {space: self._sampled(_memory(self._pairs.memory_stores(space))) for space in self._link.spaces}

    def _sampled(self, parts: "_Parts") -> tuple[np.ndarray, Tensor]:
        count, blocks = parts
        chosen = np.arange(count) if count <= MEAN_ROWS else np.linspace(0, count - 1, MEAN_ROWS).round().astype(int)
        total, kept, start = 0.0, [], 0
        for rows in blocks:
            total = total + rows.sum(0, dtype=np.float64)
            kept.append(rows[chosen[(chosen >= start) & (chosen < start + len(rows))] - start])
            start += len(rows)
        mean = np.asarray(total / count)
        return mean, torch.from_numpy(np.concatenate(kept)).to(self._device)

    def rows(self, part: JoinedPart) -> Rows:
        """Means of one space: of its memory, and of the overlapping modality."""
        space = self._link.spaces[self.parts.index(part)]
        column = self._link.overlap_column(space)
        texts = (self._texts.rows(each).vectors[column] for each in self._texts.parts)
        both = [self._samples[space]]
        if len(part.keys) > 1:
            both.append(self._sampled((self._texts.count, texts)))
        made = [self._mean_profile(space, sample) for _, sample in both]
        vectors = {f"{space}_own": np.stack([mean for mean, _ in both]), f"{space}_profile": np.stack(made)}
        return Rows(list(part.keys), {name: rows.astype(np.float32) for name, rows in vectors.items()}, {})

    def _mean_profile(self, space: str, sample: Tensor) -> np.ndarray:
        temperature, total = self.solved[f"profile_{space}"], torch.zeros((), dtype=torch.float64)
        for block in torch.split(sample, BLOCK_ROWS):
            found, _ = profiles(block, self._blocks(space), temperature)
            total = total + found.double().sum(0).cpu()
        return np.asarray(total / len(sample))

    def examples(self) -> list[Neighbour]:
        """None: nothing is looked up."""
        return []


_Parts = tuple[int, Iterator[np.ndarray]]


def _memory(folders: tuple[Path, ...]) -> _Parts:
    stores = [open_placed(folder) for folder in folders]
    blocks = (rows.vectors[EMBEDDING_COLUMN] for store in stores for _, rows in store.parts([EMBEDDING_COLUMN]))
    return sum(len(store) for store in stores), blocks
