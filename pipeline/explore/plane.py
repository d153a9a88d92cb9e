"""Items of several modalities on a plane: the two directions in which they differ most."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.precision import multiplying


@multiplying()
def plane(groups: Sequence[Tensor], modalities: Sequence[str]) -> tuple[Tensor, float]:
    """Two principal components of all rows, each modality centred, since the gap between modalities would be the first.

    Args:
        groups: Rows [N_i, E] of several stores.
        modalities: Of each of them.

    Returns:
        Points [N, 2] within -1 and 1, float32, and the share of the variance that they keep. Equal rows give equal points:
        the sign of each axis is that of its largest coefficient.
    """
    means = {
        modality: torch.cat([rows for rows, of in zip(groups, modalities, strict=True) if of == modality]).mean(0)
        for modality in dict.fromkeys(modalities)
    }
    centred = torch.cat([rows - means[of] for rows, of in zip(groups, modalities, strict=True)]).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, -2:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    points = centred @ (axes * largest.sign())
    explained = float(values[-2:].sum() / values.sum().clamp_min(1e-12))
    return (points / points.abs().amax().clamp_min(1e-12)).float(), explained
