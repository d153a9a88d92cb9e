"""What the overlapping modality says about a sample in the other space, streamed: no more of it is held than one block.

With C_T and A_T the same texts in CLIP and CLAP, the profile of an image v is softmax(v C_T^T / t) A_T, a unit vector of
CLAP. Sums run along with the texts under a maximum that may still rise, so that millions of texts need one pass.
"""

from collections.abc import Iterable

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
    top = torch.full((len(rows), 1), LOWEST, device=rows.device)
    total, spread = torch.zeros_like(top), torch.zeros_like(top)
    sums: Tensor | None = None
    for here, there in blocks:
        for start in range(0, len(here), BLOCK_TEXTS):
            scores = rows @ here[start : start + BLOCK_TEXTS].T / temperature
            values = there[start : start + BLOCK_TEXTS]
            raised = torch.maximum(top, scores.amax(1, keepdim=True))
            change, top = top - raised, raised
            scale = change.exp()
            shifted = scores.sub_(raised).clamp_min_(FLOOR)
            weights = shifted.exp()
            spread = (spread + total * change) * scale + (weights * shifted).sum(1, keepdim=True)
            total = total * scale + weights.sum(1, keepdim=True)
            sums = weights @ values + (0 if sums is None else sums * scale)
    if sums is None:
        raise ValueError("there are no texts")
    return normalize(sums / total, dim=1), (total.log() - spread / total)[:, 0]
