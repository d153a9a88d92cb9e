"""Counterfactual audio-image recognition: is what sounds in the picture at all, and where (SLAVC's extended sets).

At a confidence threshold, a pair with a visible source counts as true positive if it is confident and its cIoU reaches
0.5, as false positive if it is confident and looks elsewhere, and as false negative otherwise; a pair without one is a
false positive if it is confident. AP sums the steps of recall, each times the largest precision at the same or a larger
recall. Here every confidence is a threshold. SLAVC's own program takes about 200 of them for AP, never the lowest, counts
no step up to the first of them, and takes about ten for max-F1: its numbers, which the papers' tables hold, differ by up
to a third of a point. `protocol` says which of the two is meant.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

CHUNK = 2**21


@dataclass(frozen=True)
class Recognition:
    """AP or max-F1 of N pairs.

    Attributes:
        confidence: [N].
        visible: Whether the picture shows what sounds [N].
        located: Whether the predicted place is right [N]; of visible ones only.
        metric: Which number it is.
        protocol: ``textbook`` or ``slavc``, see above.
    """

    confidence: np.ndarray
    visible: np.ndarray
    located: np.ndarray
    metric: Literal["AP", "max-F1"]
    protocol: Literal["textbook", "slavc"] = "textbook"

    def value(self) -> float:
        """The number over all pairs."""
        return float(self.resampled(np.ones((1, len(self.confidence))))[0])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The number for each resample [C] of the pairs; NaN where none of them is visible."""
        if self.protocol == "slavc":
            return np.array([self._slavc(np.repeat(np.arange(len(row)), row.astype(int))) for row in weights])
        order = np.argsort(-self.confidence, kind="stable")
        ranked = self.confidence[order]
        # Equal confidences pass a threshold together: only the last of them is one.
        last = np.append(ranked[1:] != ranked[:-1], True)
        right = (self.visible & self.located)[order]
        visible = self.visible[order]
        rows = max(1, CHUNK // len(order))
        return np.concatenate(
            [
                self._of(weights[start : start + rows, order], right, visible, last)
                for start in range(0, len(weights), rows)
            ]
        )

    def _of(self, weights: np.ndarray, right: np.ndarray, visible: np.ndarray, last: np.ndarray) -> np.ndarray:
        confident = np.cumsum(weights, 1)[:, last]
        true = np.cumsum(weights * right, 1)[:, last]
        seen = np.cumsum(weights * visible, 1)
        missed = seen[:, -1:] - seen[:, last]
        precision = np.divide(true, confident, out=np.ones_like(true), where=confident > 0)
        recall = np.divide(true, true + missed, out=np.ones_like(true), where=true + missed > 0)
        if self.metric == "max-F1":
            both = precision + recall
            found = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0).max(1)
        else:
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            found = (best * np.diff(recall, axis=1, prepend=0.0)).sum(1)
        return np.where(seen[:, -1] > 0, found, np.nan)

    def _slavc(self, rows: np.ndarray) -> float:
        """The number for the pairs `rows` [N], by the thresholds of SLAVC's program."""
        visible = self.visible[rows]
        if not visible.any():
            return float("nan")
        order = np.argsort(self.confidence[rows], kind="stable")
        ascending, count = self.confidence[rows][order], len(order)
        if self.metric == "AP":
            thresholds = ascending[:-1][:: -max(1, count // 200)]
        else:
            thresholds = ascending[:: max(1, count // 10)]
        # How many pairs of each kind lie below each threshold.
        below = np.searchsorted(ascending, thresholds, side="left")
        right = (visible & self.located[rows])[order]
        true = right.sum() - np.append(0, np.cumsum(right))[below]
        missed = np.append(0, np.cumsum(visible[order]))[below]
        precision = true / (count - below)  # a threshold is one of the confidences: at least one pair reaches it
        recall = np.divide(true, true + missed, out=np.ones(len(true)), where=true + missed > 0)
        if self.metric == "max-F1":
            both = precision + recall
            return float(np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0).max())
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float((best[:-1] * np.diff(recall)).sum())
