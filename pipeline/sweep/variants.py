"""The variants of a connection: the one in params.yaml, and one for each row of a sweep."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.files.plain_yaml import read_yaml, shown
from pipeline.report.table import is_share, metric_label
from pipeline.sweep.settings import Sweep

# The row that changes nothing; the others are compared with it.
UNCHANGED = "as in params.yaml"


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep.

    Raises:
        UserError: The file is missing or wrong; every problem is named with its path.
    """
    content = read_yaml(path).content
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        lines = [f"{shown('.'.join(map(str, one['loc'])))}: {one['msg']}" for one in error.errors()]
        listed = "\n  ".join(lines)
        raise UserError(f"{path} has {len(lines)} problem(s):\n  {listed}", "Correct the lines above.") from error
    for connection, ablation in sweep.connections.items():
        if not is_share(metric_label(ablation.metric)):
            raise UserError(
                f"{path} compares {connection} by {ablation.metric}, which is not a share from 0 to 1, where higher is better.",
                "Choose one, such as R@10 or mAP.",
            )
        for row, changes in ablation.rows.items():
            retrieve = changes.get("retrieve", {})
            wrong = sorted(
                {*changes, *(f"retrieve.{name}" for name in retrieve)} - {"train", "retrieve", "retrieve.sets"}
            )
            if wrong or row == UNCHANGED:
                raise UserError(
                    f"The row {row!r} of {connection} changes {', '.join(wrong) or 'nothing'}.",
                    "A sweep trains again on the pseudo-pairs that are there: change `train`, or `retrieve.sets`; for "
                    "anything else add a connection to params.yaml.",
                )
    return sweep


def variants(connection: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By row the unchecked settings of `connection` with the row's changes; first the unchanged one."""
    return {UNCHANGED: deepcopy(dict(connection))} | {row: merged(connection, changes) for row, changes in rows.items()}


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes`, group by group; neither is modified."""
    result = deepcopy(dict(settings))
    for name, value in changes.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = merged(before, value)
        else:
            result[name] = deepcopy(value)
    return result
