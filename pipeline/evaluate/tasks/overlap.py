"""How well a predicted place in a picture agrees with annotated boxes.

The annotation is a map G from 0 to 1: the share of annotators who must agree that marked a place, at most 1. Agreement of
a prediction P is cIoU = sum(P G) / (sum(G) + |P where G = 0|), as in EZ-VSL and SLAVC; for one box and one annotator it
is the intersection over union.

Boxes are x0, y0, x1, y1 in any unit, the same for prediction and annotation.
"""

import numpy as np

THRESHOLDS = np.arange(21) * 0.05
HIT = 0.5
MAP_SIDE = 224


def box_ciou(box: np.ndarray, regions: np.ndarray, agreement: int = 1) -> float:
    """cIoU of a predicted box [4] with annotated boxes [R, 4], exact: nothing is drawn on a raster.

    Args:
        box: The prediction.
        regions: Boxes of all annotators.
        agreement: Annotators who make a place certain.
    """
    # Between two neighbouring edges nothing changes, so the cells between all edges are all there is to sum.
    edges = np.concatenate([box[None], regions]).astype(np.float64)
    across, down = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    areas = np.diff(down)[:, None] * np.diff(across)
    x, y = (across[:-1] + across[1:]) / 2, (down[:-1] + down[1:]) / 2
    truth = np.minimum(sum(_inside(region, x, y) for region in regions) / agreement, 1.0)
    predicted = _inside(box, x, y)
    union = (areas * truth).sum() + (areas * predicted * (truth == 0)).sum()
    return float((areas * truth * predicted).sum() / union) if union else 0.0


def _inside(box: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points of the grid `y` x `x` lie in `box`."""
    return ((y > box[1]) & (y < box[3]))[:, None] & ((x > box[0]) & (x < box[2]))


def truth_map(regions: np.ndarray, agreement: int = 1, side: int = MAP_SIDE) -> np.ndarray:
    """The annotation as a map [side, side]; boxes [R, 4] as fractions of the picture, from 0 to 1."""
    found = np.zeros((side, side))
    for x0, y0, x1, y1 in (np.clip(regions, 0, 1) * side).astype(int):
        found[y0:y1, x0:x1] += 1
    return np.minimum(found / agreement, 1.0)


def map_ciou(heat: np.ndarray, truth: np.ndarray) -> float:
    """cIoU of a heat map [H, W] with an annotation [H, W]: the prediction is all that is not below the heat's median.

    The median is the value at half of the ascending values, as EZ-VSL and SLAVC take it (`pred_size` 0.5).
    """
    predicted = heat >= np.sort(heat, axis=None)[heat.size // 2]
    union = truth.sum() + (predicted & (truth == 0)).sum()
    return float((truth * predicted).sum() / union) if union else 0.0


def crop_heat(boxes: np.ndarray, scores: np.ndarray, side: int = MAP_SIDE) -> np.ndarray:
    """A heat map [side, side] from scored crops: the mean score of the crops that show a place.

    A place that no crop shows is as cold as the coldest. Boxes [K, 4] in shares of the picture, scores [K].
    """
    sums, counts = np.zeros((side, side)), np.zeros((side, side))
    for (x0, y0, x1, y1), score in zip((np.clip(boxes, 0, 1) * side).round().astype(int), scores, strict=True):
        sums[y0:y1, x0:x1] += score
        counts[y0:y1, x0:x1] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), scores.min())


def success_area(ciou: np.ndarray) -> np.ndarray:
    """Of each sample [N] what it adds to the area under the success rate over the thresholds 0, 0.05, ..., 1.

    The mean of these is the AUC (21 points, trapezoids).
    """
    success = ciou[:, None] >= THRESHOLDS
    return np.asarray(((success[:, 1:] + success[:, :-1].astype(float)) / 2 * np.diff(THRESHOLDS)).sum(1))
