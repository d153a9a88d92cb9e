"""How far two methods are apart on the same samples, which is sharper than two intervals side by side."""

from pipeline.report.inputs import Inputs
from pipeline.report.table import Row, Table, metric_label

# How `differences.parquet` names a baseline, and a frozen space, that a connection is compared with.
UNTRAINED_PREFIX, FROZEN_PREFIX = "baseline/", "frozen/"


def difference(table: Table, label: str, row: Row, against: str, inputs: Inputs) -> tuple[float, float, float] | None:
    """`row` minus what it is compared with, and the interval, in shares; None where it was not measured."""
    place = {"task": table.task, "dataset": table.dataset, "direction": table.direction}
    wanted = place | {"connection": row.connection, "against": against}
    for record in inputs.differences or ():
        if metric_label(str(record["metric"])) == label and all(record[name] == wanted[name] for name in wanted):
            return float(record["value"]), float(record["ci_low"]), float(record["ci_high"])
    return None


def paired(table: Table, label: str, row: Row, against: str, inputs: Inputs) -> str:
    """The same in words; nothing where it was not measured."""
    found = difference(table, label, row, against, inputs)
    if not found:
        return ""
    value, low, high = found
    text = f"{100 * value:+.1f} points on the same samples (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
    return f"{text}, which may be chance" if low <= 0 <= high else text
