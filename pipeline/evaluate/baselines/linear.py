"""Linear maps between the spaces, in closed form.

Each modality of each space has a mean of its own (the modality gap), so every side is centred with the mean of its
own unpaired data: the overlapping modality with its mean, a gallery or query with the mean of its *memory*, never
with its own, which the evaluation must not know.
"""

import numpy as np

from pipeline.evaluate.baselines.link_data import LinkData, mean
from pipeline.evaluate.views import Scorer, Views, unit

# Relative to the mean variance of the inputs.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD_OUT_EVERY = 10


def unprojected(data: LinkData) -> Scorer | None:
    """The two spaces compared as if they were one; defined where their widths agree."""
    if data.memories[0].shape[1] != data.memories[1].shape[1]:
        return None
    return lambda first, second: Views((unit(first), unit(second)))


def procrustes(data: LinkData) -> Scorer:
    """Orthogonal Procrustes on the overlapping modality.

    The rotations U and V of the singular value decomposition of X'Y take both spaces into common coordinates
    [min(D1, D2)]; with equal widths the score is that of the rotation U V' that minimises ||X R - Y||.
    """
    x, y = _centred(data.overlap)
    left, _, right = np.linalg.svd(x.T @ y, full_matrices=False)
    means = [mean(memory) for memory in data.memories]
    return lambda first, second: Views((unit((first - means[0]) @ left), unit((second - means[1]) @ right.T)))


def ridge(data: LinkData) -> Scorer:
    """Ridge regression from each space to the other on the overlapping modality."""
    return _regression(data.overlap, data)


def ridge_pseudo(data: LinkData) -> Scorer | None:
    """Ridge regression on the pseudo-pairs of the retrieve stage, scaled to unit length as real samples are."""
    if data.pseudo is None:
        return None
    return _regression((unit(data.pseudo[0]), unit(data.pseudo[1])), data)


def _regression(pairs: tuple[np.ndarray, np.ndarray], data: LinkData) -> Scorer:
    x, y = _centred(pairs)
    onward, back = fit_ridge(x, y), fit_ridge(y, x)
    means = [mean(memory) for memory in data.memories]

    def score(first: np.ndarray, second: np.ndarray) -> Views:
        sides = first - means[0], second - means[1]
        return Views((unit(sides[0] @ onward), unit(sides[1])), (unit(sides[1] @ back), unit(sides[0])))

    return score


def fit_ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The map [D1, D2] of the penalty that predicts every tenth row best from the others, fitted on all rows."""
    held = np.arange(len(x)) % HELD_OUT_EVERY == 0
    scale = float(np.square(x).mean()) * len(x)
    errors = [
        float(np.square(x[held] @ weights - y[held]).sum())
        for weights in ridge_path(x[~held], y[~held], [scale * penalty for penalty in PENALTIES])
    ]
    return ridge_path(x, y, [scale * PENALTIES[int(np.argmin(errors))]])[0]


def ridge_path(x: np.ndarray, y: np.ndarray, penalties: list[float]) -> list[np.ndarray]:
    """(X'X + penalty I)^-1 X'Y for each penalty, from one eigendecomposition; zeros where X is constant and predicts nothing."""
    values, vectors = np.linalg.eigh(x.T @ x)
    product = vectors.T @ (x.T @ y)
    divisors = [(np.maximum(values, 0.0) + penalty)[:, None] for penalty in penalties]
    return [vectors @ np.divide(product, each, out=np.zeros_like(product), where=each > 0) for each in divisors]


def _centred(pairs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, y = (rows.astype(np.float64) - mean(rows) for rows in pairs)
    return x, y
