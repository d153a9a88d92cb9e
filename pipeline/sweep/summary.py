"""What each row of a sweep adds: its metric over the seeds, and the difference to the unchanged connection seed by seed."""

import pandas as pd

from pipeline.sweep.variants import UNCHANGED

COLUMNS = ("connection", "row", "task", "metric", "seed", "value", "difference")


def with_differences(values: pd.DataFrame) -> pd.DataFrame:
    """Add to `values` (connection, row, task, metric, seed, value) the difference to the unchanged row of the same seed."""
    unchanged = values[values.row == UNCHANGED].set_index(["connection", "seed"]).value
    of_seed = pd.MultiIndex.from_frame(values[["connection", "seed"]])
    return values.assign(difference=values.value.to_numpy() - unchanged.reindex(of_seed).to_numpy())[list(COLUMNS)]


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """One line for each row: mean and standard deviation (n - 1) of value and difference over the seeds, and a verdict."""
    lines = []
    for (connection, row), group in values.groupby(["connection", "row"], sort=False):
        differences = group.difference.to_numpy()
        lines.append(
            {
                "connection": connection,
                "row": row,
                "task": group.task.iloc[0],
                "metric": group.metric.iloc[0],
                "seeds": len(group),
                "mean": group.value.mean(),
                "deviation": group.value.std(ddof=1),
                "difference": differences.mean(),
                "difference_deviation": group.difference.std(ddof=1),
                "verdict": "" if row == UNCHANGED else verdict(differences.tolist()),
            }
        )
    return pd.DataFrame(lines)


def verdict(differences: list[float]) -> str:
    """What a change does: with few seeds a difference counts only if every seed agrees on its sign."""
    if len(differences) < 2:
        return "one seed: not known"
    if all(difference < 0 for difference in differences):
        return "worse"
    if all(difference > 0 for difference in differences):
        return "better"
    return "no difference: what it changes does not help here"
