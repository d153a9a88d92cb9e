"""Coupling: real samples of the two memories become partners of each other, bridged by the overlapping modality.

No partner is an average. For each image a few sounds are drawn from softmax(s / t2) over the whole memory of sounds, and
the other way round, with the score s of `pipeline.retrieve.profiles`. The folder has parts of three kinds:

* ``clip_image-00000.parquet``, one per part of the first memory: key, the sample's own embedding ``clip_image`` and its
  partners ``clap_audio_draw_00`` ...: row numbers among the second memory's rows *in this folder*, parts in order;
* ``clap_audio-00000.parquet``, the same for the second memory;
* ``text-00000.parquet``: the overlapping modality in both spaces.

So each embedding is stored once, however many partners are drawn, and the folder needs nothing beside it.

Where one of the memories is of the overlapping modality itself (shapes over pictures, joined to pictures), nothing has to be
guessed on the way: its samples are known in both spaces, and the score is the centred cosine in the other memory's space.
Its parts then hold the overlapping modality in both spaces, and there are no others.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.hashing import seed_from
from pipeline.precision import dtype_of, multiplying
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.joined import JoinedPart, JoinedStores
from pipeline.retrieve.maker import EXAMPLE_NEIGHBOURS, EXAMPLE_QUERIES, Neighbour, listed
from pipeline.retrieve.memory.bank import best_of
from pipeline.retrieve.memory.neighbours import TopK
from pipeline.retrieve.memory.perplexity import solve_temperature
from pipeline.retrieve.memory.products import arithmetic, resolved
from pipeline.retrieve.memory.profile_parts import Asked, profiles_in_parts
from pipeline.retrieve.memory.sampling import Sampled, sample, sample_top_k
from pipeline.retrieve.pair_set import PairSet, fingerprint, stores_hash
from pipeline.retrieve.profiles import Profiles, centred, features
from pipeline.retrieve.settings import CouplingRetrieveSettings, Softness
from pipeline.store import Rows, open_placed, read_placed
from pipeline.store.parts.names import numbered

QUERIES_OF_EACH = EXAMPLE_QUERIES // 2  # of the two memories


class CouplingPairs:
    """Partners of real samples; see `PairMaker`.

    Controls: ``shuffled_overlap`` gives every text another one's embedding in the second space; ``random_partners``
    gives every sample the partners of another one.

    Attributes:
        solved: The temperatures that were used, by name, for the manifest.
    """

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        self._pairs, self._link = pairs, pairs.link
        self._device, self._threads = torch.device(device), threads
        assert isinstance(pairs.settings, CouplingRetrieveSettings)
        self._settings = pairs.settings
        self._dtype = dtype_of(resolved(pairs.settings.precision, device))
        # The bridge and both memories decide every partner.
        self.shared = {**pairs.memory_sources, **pairs.overlap_sources}
        first, second = self._link.spaces
        self._texts = JoinedStores(self._link.spaces, pairs.query_stores(first), pairs.query_stores(second))
        self._overlapping = self._link.overlapping_memory
        self._keys: dict[str, list[str]] = {}
        self._samples: dict[str, Tensor] = {}
        for space in self._link.spaces:
            if space == self._overlapping:
                self._keys[space], self._samples[space] = self._texts.keys(), self._overlap[space]
                continue
            self._keys[space], embeddings = read_placed(pairs.memory_stores(space))
            self._samples[space] = torch.from_numpy(embeddings).to(self._device)
        self._space_of = {part.name: space for space in self._link.spaces for part in self._parts_of(space)}
        self.parts = [part for space in self._link.spaces for part in self._parts_of(space)]
        if not self._overlapping:
            self.parts += [_renamed(part, self._link.overlap) for part in self._texts.parts]

    def _parts_of(self, space: str) -> list[JoinedPart]:
        if space == self._overlapping:
            return [_renamed(part, self._link.memory_column(space)) for part in self._texts.parts]
        found: list[JoinedPart] = []
        first_row = 0
        for part in (p for folder in self._pairs.memory_stores(space) for p in open_placed(folder).manifest.parts):
            keys = self._keys[space][first_row : first_row + part.rows]
            name = f"{self._link.memory_column(space)}-{numbered(len(found))}.parquet"
            found.append(JoinedPart(name, part.sha256, keys, first_row, ()))
            first_row += part.rows
        return found

    def _seed(self, *purpose: object) -> int:
        return seed_from(self._pairs.seed, self._link.label, *purpose)

    @cached_property
    def _overlap(self) -> dict[str, Tensor]:
        """The texts in both spaces [T, D], row by row."""
        first = np.concatenate([self._texts.first(part) for part in self._texts.parts])
        second = self._texts.second(self._texts.keys())
        if self._settings.control == "shuffled_overlap":
            order = strangers(len(second), self._pairs.seed, self._link.label, "shuffled_overlap")
            # Samples of an overlapping memory stay themselves, also in the second space.
            first, second = (
                (first[order], second) if self._overlapping == self._link.spaces[1] else (first, second[order])
            )
        both = zip(self._link.spaces, (first, second), strict=True)
        return {space: torch.from_numpy(rows).to(self._device) for space, rows in both}

    def _other(self, space: str) -> str:
        first, second = self._link.spaces
        return second if space == first else first

    @property
    def solved(self) -> dict[str, float]:
        """Temperature of each space's profiles (``profile_clip``) and of its partners (``partner_clip``)."""
        pairs = (("profile", self._profile_temperatures), ("partner", self._partner_temperatures))
        return {f"{kind}_{space}": value for kind, found in pairs for space, value in found.items()}

    @cached_property
    def _profile_temperatures(self) -> dict[str, float]:
        if self._overlapping:
            return {}
        return self._solve("profile", self._multiplied(self._samples), self._multiplied(self._overlap))

    @cached_property
    def _partner_temperatures(self) -> dict[str, float]:
        return self._solve(
            "partner", self._features, {space: self._features[self._other(space)] for space in self._keys}
        )

    def _solve(self, kind: str, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> dict[str, float]:
        softness: Softness = getattr(self._settings, kind)
        what = f"connections.{self._link.connection}.retrieve.{kind}"
        return {
            space: solve_temperature(softness, queries[space], keys[space], self._seed(f"{kind} sample", space), what)
            for space in self._link.spaces
        }

    @cached_property
    def _profiles(self) -> dict[str, Profiles]:
        return {space: self._profile(space) for space in self._profile_temperatures}

    def _profile(self, space: str) -> Profiles:
        """What the texts say about the samples of `space`, read in the other space."""
        texts, temperature = self._multiplied(self._overlap), self._profile_temperatures[space]
        return self._made(
            space, self._multiplied(self._samples)[space], texts[space], texts[self._other(space)], temperature
        )

    def _made(self, name: str, samples: Tensor, texts: Tensor, there: Tensor, temperature: float) -> Profiles:
        """Profiles of `samples`, all those of a memory; in parts of their own where there is a place for them."""
        space = name.partition(" ")[0]
        asked = Asked(self._keys[space], samples, texts, there, temperature)
        if not (scratch := self._pairs.scratch):
            return asked.profiles()
        made_from = {
            **fingerprint(self._pairs),
            "sources": {column: stores_hash(folders) for column, folders in self.shared.items()},
            "profiles": name,
        }
        kind = arithmetic(self._settings.precision, self._device)
        return profiles_in_parts(asked, scratch / name.replace(" ", "-"), made_from, kind)

    def _multiplied(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """`rows` in the type that is multiplied; themselves where they already are."""
        return {space: tensor.to(self._dtype) for space, tensor in rows.items()}

    @cached_property
    def _features(self) -> dict[str, Tensor]:
        """By space the rows of its memory whose inner products with those of the other memory are the scores."""
        return self._multiplied({space: self._compared(space) for space in self._link.spaces})

    def _compared(self, space: str) -> Tensor:
        if self._overlapping:
            other = self._other(space)
            return centred(self._overlap[other] if space == self._overlapping else self._samples[space])
        profiles = self._profiles[space]
        made = features(space == self._link.spaces[0], self._samples[space], profiles.vectors)
        # From now on only what is said about them is asked for.
        self._profiles[space] = replace(profiles, vectors=profiles.vectors[:0].clone())
        return made

    @cached_property
    def _indexes(self) -> dict[str, TopK]:
        """By space the FAISS index over its features, where one is asked for."""
        return {
            space: TopK.of(self._settings, self._features[space], self._threads, self._seed("index", space))
            for space in (self._link.spaces if self._settings.search != "exact" else ())
        }

    def rows(self, part: JoinedPart) -> Rows:
        """Texts in both spaces, or samples with their partners and the statistics of both softmaxes."""
        if part.name not in self._space_of:
            place = slice(part.first_row, part.first_row + len(part.keys))
            vectors = {
                self._link.overlap_column(space): rows[place].cpu().numpy() for space, rows in self._overlap.items()
            }
            return Rows(list(part.keys), vectors, {})
        space = self._space_of[part.name]
        rows = np.arange(part.first_row, part.first_row + len(part.keys))
        drawn = self._draw(space, part.name, self._asking(space)[rows])
        own, other = self._link.memory_column(space), self._link.memory_column(self._other(space))
        vectors = {own: self._samples[space][rows].cpu().numpy()}
        if space == self._overlapping:
            there = self._other(space)
            vectors[self._link.overlap_column(there)] = self._overlap[there][rows].cpu().numpy()
        numbers = {
            f"{other}_draw_{number:02d}": _int32(drawn_rows) for number, drawn_rows in enumerate(drawn.rows.unbind(1))
        }
        for name in ("neighbours", "top_score", "missed_mass"):
            numbers[f"{other}_{name}"] = getattr(drawn, name).double().cpu().numpy()
        for name in () if self._overlapping else ("neighbours", "top_score"):
            values = getattr(self._profiles[space], name)[rows]
            numbers[f"{self._link.overlap_column(space)}_{name}"] = values.double().cpu().numpy()
        return Rows(list(part.keys), vectors, numbers)

    def _asking(self, space: str) -> np.ndarray:
        """For each sample of `space` the row of the one whose partners it gets: itself, unless a control is on."""
        count = len(self._keys[space])
        if self._settings.control != "random_partners":
            return np.arange(count)
        return strangers(count, self._pairs.seed, f"{self._link.label} {space}", "random_partners")

    def _draw(self, space: str, purpose: str, chosen: np.ndarray) -> Sampled:
        temperature = self._partner_temperatures[space]
        queries, keys = self._features[space][chosen], self._features[self._other(space)]
        generator = torch.Generator(self._device).manual_seed(self._seed("draws", purpose))
        if self._settings.search == "exact":
            return sample(queries, keys, temperature, self._settings.draws, generator)
        index = self._indexes[self._other(space)]
        return sample_top_k(index, queries, keys, temperature, self._settings.draws, generator)

    def examples(self) -> list[Neighbour]:
        """The likeliest partners of samples spread evenly over both memories, with their probabilities."""
        return [example for space in self._link.spaces for example in self._examples(space)]

    @multiplying()
    def _examples(self, space: str) -> list[Neighbour]:
        other, keys = self._other(space), self._keys[space]
        chosen = np.unique(np.arange(QUERIES_OF_EACH) * len(keys) // QUERIES_OF_EACH)
        scores = self._features[space][self._asking(space)[chosen]].float() @ self._features[other].float().T
        best = best_of(scores, self._partner_temperatures[space], self._keys[other], EXAMPLE_NEIGHBOURS)
        asking, asked = self._link.memory_column(space), self._link.memory_column(other)
        return listed(asking, [keys[row] for row in chosen], {asked: best})


def _renamed(part: JoinedPart, overlap: str) -> JoinedPart:
    return replace(part, name=part.name.replace("part-", f"{overlap}-", 1))


def _int32(rows: Tensor) -> np.ndarray:
    return rows.to(torch.int32).cpu().numpy()
