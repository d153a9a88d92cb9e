"""The losses of C-MCR (arXiv 2305.14381, section 3.3) and Ex-MCR (arXiv 2310.08884)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.train.info_nce.tiled import TiledInfoNCE
from pipeline.train.info_nce.whole import WholeInfoNCE
from pipeline.train.ranks.together import ranks

# A CPU holds the scores of up to so many pairs at once (1 GiB); above, and on a GPU, there are blocks of at most so many
# scores. A GPU's are few: 65,536 pairs are 16 blocks of 1 GiB.
WHOLE = 16_384
BLOCK = {"cpu": 2**26, "cuda": 2**28}


def bytes_of_scores(batch: int, device: str) -> int:
    """About how much memory the scores of two losses over `batch` pairs take on a kind of device, in float32."""
    if device == "cpu" and batch <= WHOLE:
        return 4 * 4 * batch**2
    return 3 * 4 * min(batch**2, max(batch, BLOCK.get(device, BLOCK["cpu"])))


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Half the sum of InfoNCE in both directions, mean over the batch, negatives from the batch alone.

    Equations of L_ttc and L_avc: with s_ij = first_i . second_j / temperature,
    L = -1/2B sum_i [ log softmax_j(s_ij)_i + log softmax_j(s_ji)_i ].

    Several ranks, which all have the same rows, divide the scores among them and all get the same loss and gradients.

    Within `torch.autocast` the factors of products are in its type; scores, sums and exponentials never are.

    Args:
        first: Unit rows [B, E].
        second: Their partners [B, E], row by row.
        temperature: tau 2 or tau 3.

    Returns:
        The loss, a scalar; gradients flow to both arguments.
    """
    kind = first.device.type
    short, among = torch.is_autocast_enabled(kind), ranks()
    if kind == "cpu" and not short and len(first) <= WHOLE and among.alone:
        loss: Tensor = WholeInfoNCE.apply(first, second, temperature)
        return loss
    factors = torch.get_autocast_dtype(kind) if short else torch.promote_types(first.dtype, second.dtype)
    with torch.autocast(kind, enabled=False):
        loss = TiledInfoNCE.apply(first, second, temperature, factors, BLOCK.get(kind, BLOCK["cpu"]), among)
    return loss


def intra_alignment(pairs: Sequence[tuple[Tensor, Tensor]], norm: str) -> Tensor:
    """Intra-MCR alignment L_intra: half the sum over the spaces of the mean distance between paired rows.

    There are no negatives: the repulsive part of InfoNCE is what keeps the gap between modalities open.

    Args:
        pairs: Per space, the projected embeddings [B, E] of its two modalities.
        norm: ``l2``, or ``squared`` for the squared distance.
    """
    return 0.5 * torch.stack([mean_distance(first, second, norm) for first, second in pairs]).sum()


def mean_distance(first: Tensor, second: Tensor, norm: str) -> Tensor:
    """Mean distance between paired rows [B, E]: ``l2``, or ``squared`` for the squared distance."""
    if norm == "squared":
        return (first - second).square().sum(-1).mean()
    return torch.linalg.vector_norm(first - second, dim=-1).mean()
