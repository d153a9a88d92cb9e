"""The few numbers that ``dvc metrics`` shows and compares; all others are in the Parquet table."""

import logging
from collections.abc import Iterable, Mapping

from pipeline.evaluate.settings import MOST_HEADLINES, EvaluateSettings

log = logging.getLogger(__name__)

DIGITS = 4
MEAN = "mean"
# How the number begins that says most about a task; of several it is the last, such as R@10 of R@1, R@5 and R@10.
TELLING = ("class_mAP", "R@", "top-1", "cIoU", "mAP")

Measured = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""By task, contender, direction and metric."""


def headlines(settings: EvaluateSettings, measured: Measured) -> dict[str, float]:
    """The chosen numbers by their names.

    Without a choice each connection has one, of the first task that measures it: the mean of both directions, or the
    only one that there is.
    """
    if not settings.headlines:
        return dict(list(_by_connection(settings, measured).items())[:MOST_HEADLINES])
    found = {}
    for name, place in settings.headlines.items():
        task, contender, metric, direction = (*place.split("/", 3), MEAN)[:4]
        directions = measured.get(task, {}).get(contender, {})
        value = directions.get(direction, {}).get(metric)
        if value is None and len(directions) == 1:
            value = next(iter(directions.values())).get(metric)
        if value is None:
            known = ", ".join(measured.get(task, {})) or ", ".join(measured)
            log.warning("evaluate.headlines.%s: nothing was measured as %s; there are %s", name, place, known)
        else:
            found[name] = round(value, DIGITS)
    return found


def _by_connection(settings: EvaluateSettings, measured: Measured) -> dict[str, float]:
    found: dict[str, tuple[str, float]] = {}
    for name, task in settings.tasks.items():
        for connection in task.connections:
            directions = measured.get(name, {}).get(connection, {})
            numbers = directions.get(MEAN) or next(iter(directions.values()), {})
            if connection not in found and (metric := _telling(numbers)):
                found[connection] = metric, round(numbers[metric], DIGITS)
    return {f"{connection} {metric}": value for connection, (metric, value) in found.items()}


def _telling(metrics: Iterable[str]) -> str:
    for start in TELLING:
        if matches := [metric for metric in metrics if metric.startswith(start)]:
            return matches[-1]
    return ""
