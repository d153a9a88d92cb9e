"""Coupling in which a third space has a say: the witness embeds the overlapping modality and one of the memories, too.

An image v that the witness embeds as u asks for texts by both embeddings at once: the weights of its profile are
softmax(v C_T^T / t1 + w u U_T^T / tU), with U_T the texts as the witness embeds them. And the profile of a sound a can be read
in the witness's space as well: w cos(u - m_U, ut(a) - m_UT) joins the score. Without a witness these are the pairs of
`CouplingPairs`.
"""

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.errors import UserError
from pipeline.retrieve.located import Located
from pipeline.retrieve.memory.perplexity import solve_temperature
from pipeline.retrieve.methods.coupling import CouplingPairs
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.profiles import Profiles, centred
from pipeline.retrieve.settings import WitnessedRetrieveSettings
from pipeline.store.scratch import open_scratch


class WitnessedPairs(CouplingPairs):
    """See `PairMaker`.

    Raises:
        UserError: The witness did not embed a text or a sample that it is asked about.
    """

    def __init__(self, pairs: PairSet, device: str, threads: int) -> None:
        super().__init__(pairs, device, threads)
        assert isinstance(pairs.settings, WitnessedRetrieveSettings)
        self._softness, self._weight = pairs.settings.witness, pairs.settings.witness_weight
        self._seen = ""
        if witness := self._link.witness:
            self._seen = next(s for s, memory in self._link.memories.items() if memory.modality == witness.modality)
            self.shared = {**self.shared, **pairs.witness_sources}

    @property
    def solved(self) -> dict[str, float]:
        """Also the temperature of the witness's texts."""
        return super().solved | ({"witness": self._temperature} if self._seen else {})

    @cached_property
    def _witness(self) -> tuple[Tensor, Tensor]:
        """Texts [T, D] and samples [N, D] as the witness embeds them, row by row those of the two spaces."""
        texts, samples = self._pairs.witness_sources.values()
        return self._read(texts, self._texts.keys()), self._read(samples, self._keys[self._seen])

    def _read(self, folders: tuple[Path, ...], keys: list[str]) -> Tensor:
        stores = Located(folders, open_scratch(), "witness")
        if missing := stores.missing(keys):
            raise UserError(
                f"The witness of {self._link.label} has no embedding of {len(missing)} samples, such as {missing[0]}.",
                "Encode the same corpora by it, or leave the witness out.",
            )
        return torch.from_numpy(stores.rows(keys)).to(self._device)

    @cached_property
    def _temperature(self) -> float:
        texts, samples = self._witness
        what = f"connections.{self._link.connection}.retrieve.witness"
        return solve_temperature(self._softness, samples, texts, self._seed("witness sample"), what)

    def _profile(self, space: str) -> Profiles:
        if not self._seen:
            return super()._profile(space)
        if space != self._seen:
            return self._both[0]
        texts, samples = self._witness
        own = self._profile_temperatures[space]
        # The same softmax at the space's own temperature, with the witness's logits as further coordinates.
        scale = self._weight * own / self._temperature
        asking = torch.cat([self._samples[space], samples * scale], 1)
        asked = torch.cat([self._overlap[space], texts], 1)
        there = self._overlap[self._other(space)]
        return self._made(space, asking.to(self._dtype), asked.to(self._dtype), there.to(self._dtype), own)

    @cached_property
    def _both(self) -> tuple[Profiles, Tensor]:
        """Profiles of the samples that the witness has not seen, in the other space and in its own [N, D]."""
        space, there = self._other(self._seen), self._overlap[self._seen]
        asking, asked = self._samples[space].to(self._dtype), self._overlap[space].to(self._dtype)
        # Both have the same weights, so one pass over the texts reads them side by side.
        read = torch.cat([there, self._witness[0]], 1).to(self._dtype)
        made = self._made(f"{space} and witness", asking, asked, read, self._profile_temperatures[space])
        own, seen = (normalize(rows, dim=1) for rows in made.vectors.tensor_split([there.shape[1]], 1))
        return replace(made, vectors=own), seen

    def _compared(self, space: str) -> Tensor:
        made = super()._compared(space)
        if not self._seen:
            return made
        samples = self._witness[1] if space == self._seen else self._both[1]
        return torch.cat([made, math.sqrt(self._weight) * centred(samples)], 1)
