"""What the overlapping modality says about a sample in the other space, streamed: no more of it is held than one block.

With C_T and A_T the same texts in CLIP and CLAP, the profile of an image v is softmax(v C_T^T / t) A_T, a unit vector of
CLAP. Sums run along with the texts under a maximum that may still rise, so that millions of texts need one pass.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.precision import multiplying

BLOCK_TEXTS = 8192
# Weights below e^-60 of the largest are nothing in float32, and as denormal numbers they would be slow.
FLOOR = -60.0
LOWEST = -1e6


@multiplying()
def profiles(rows: Tensor, blocks: Iterable[tuple[Tensor, Tensor]], temperature: float) -> tuple[Tensor, Tensor]:
    """Profiles of `rows` [N, D1] and the entropy of their softmax over the texts, in nats [N]; float32.

    Args:
        rows: Samples; [N, BLOCK_TEXTS] scores are held at a time.
        blocks: The texts, a block at a time: in the space of `rows` [t, D1] and in the other one [t, D2].
        temperature: Of the softmax.
    """
    softmax = _Softmax(rows)
    sums: Tensor | None = None
    for here, there in blocks:
        for start in range(0, len(here), BLOCK_TEXTS):
            scores = rows @ here[start : start + BLOCK_TEXTS].T / temperature
            weights, scale = softmax.add(scores)
            sums = weights @ there[start : start + BLOCK_TEXTS] + (0 if sums is None else sums * scale)
    if sums is None:
        raise ValueError("there are no texts")
    return normalize(sums / softmax.total, dim=1), softmax.entropy


@multiplying()
def entropies(rows: Tensor, blocks: Iterable[Tensor], temperatures: Sequence[float]) -> list[Tensor]:
    """By temperature the entropy of the softmax of `rows` [N, D1] over the texts, in nats [N]; one pass for all of them."""
    found = [_Softmax(rows) for _ in temperatures]
    for here in blocks:
        for start in range(0, len(here), BLOCK_TEXTS):
            products = rows @ here[start : start + BLOCK_TEXTS].T
            for softmax, temperature in zip(found, temperatures, strict=True):
                softmax.add(products / temperature)
    return [softmax.entropy for softmax in found]


class _Softmax:
    """Sums over the texts that went by, under a maximum that may still rise; [N, 1] each."""

    def __init__(self, rows: Tensor) -> None:
        self._top = torch.full((len(rows), 1), LOWEST, device=rows.device)
        self.total, self._spread = torch.zeros_like(self._top), torch.zeros_like(self._top)

    def add(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Let a block of scores [N, t] go by, which are overwritten; its weights, and what earlier sums are scaled by."""
        raised = torch.maximum(self._top, scores.amax(1, keepdim=True))
        change, self._top = self._top - raised, raised
        scale = change.exp()
        shifted = scores.sub_(raised).clamp_min_(FLOOR)
        weights = shifted.exp()
        self._spread = (self._spread + self.total * change) * scale + (weights * shifted).sum(1, keepdim=True)
        self.total = self.total * scale + weights.sum(1, keepdim=True)
        return weights, scale

    @property
    def entropy(self) -> Tensor:
        """In nats [N]."""
        return (self.total.log() - self._spread / self.total)[:, 0]
