"""The learning rate as a function of the step, so that a resumed run needs no state for it."""

import math


def learning_rate(step: int, total: int, peak: float, warmup: int) -> float:
    """Rise linearly over `warmup` steps to `peak`, then fall along half a cosine towards zero.

    Args:
        step: Step from 0 to total - 1.
        total: Steps of the whole run.
        peak: Largest learning rate.
        warmup: Steps of the rise; the step after it has the peak.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
