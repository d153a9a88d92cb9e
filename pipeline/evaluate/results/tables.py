"""The result tables: long Parquet for people and the report; JSON for ``dvc metrics`` and curves for ``dvc plots``."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import CorruptError, first_few
from pipeline.files.atomic import atomic_path, write_text
from pipeline.store.integrity.made_from import read_made_from
from pipeline.store.parquet import write_table

log = logging.getLogger(__name__)

CURVE_DIGITS = 6
CURVES = "plots"
CURVE_HEADER = "candidates,recall\n"
_WHICH = [(name, pa.string()) for name in ("task", "dataset", "connection", "method", "direction")]
SCHEMAS = {
    "metrics": pa.schema(
        [
            ("connection", pa.string()),
            ("method", pa.string()),
            ("task", pa.string()),
            ("dataset", pa.string()),
            ("direction", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("ci_low", pa.float64()),
            ("ci_high", pa.float64()),
            ("n", pa.int64()),
            ("chance", pa.float64()),
            ("through", pa.string()),
        ]
    ),
    "ranks": pa.schema(
        [
            *_WHICH,
            ("query_key", pa.string()),
            ("item", pa.int64()),
            ("rank", pa.float64()),
            ("average_precision", pa.float64()),
        ]
    ),
    "differences": pa.schema(
        [
            *_WHICH,
            ("against", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("ci_low", pa.float64()),
            ("ci_high", pa.float64()),
            ("n", pa.int64()),
        ]
    ),
    "examples": pa.schema(
        [
            *_WHICH,
            ("query_key", pa.string()),
            ("rank", pa.int64()),
            ("neighbour_key", pa.string()),
            ("score", pa.float64()),
            ("relevant", pa.bool_()),
            ("true_rank", pa.float64()),
        ]
    ),
    "similarities": pa.schema(
        [
            *_WHICH,
            ("stage", pa.string()),
            ("pairs", pa.string()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("count", pa.int64()),
        ]
    ),
}


@dataclass
class Tables:
    """What the tasks found.

    Attributes:
        parts: Tables by name, in the order in which they were added.
        measured: task -> contender -> direction -> metric -> value.
        curves: Recall (0 to 1) by number of candidates, by name of the file.
    """

    parts: dict[str, list[pa.Table]] = field(default_factory=lambda: {name: [] for name in SCHEMAS})
    measured: dict[str, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, name: str, columns: dict[str, Any]) -> None:
        """Append rows to table `name`; a plain value stands for a column of it."""
        schema = SCHEMAS[name]
        count = next((len(column) for column in columns.values() if _is_column(column)), 1)
        filled = [
            pa.array(columns[key] if _is_column(columns[key]) else [columns[key]] * count, schema.field(key).type)
            for key in schema.names
        ]
        self.parts[name].append(pa.Table.from_arrays(filled, schema=schema))

    def add_number(self, task: str, contender: str, direction: str, metric: str, value: float) -> None:
        """Keep one number where headlines are chosen from."""
        self.measured.setdefault(task, {}).setdefault(contender, {}).setdefault(direction, {})[metric] = value

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {name: sum(len(part) for part in parts) for name, parts in self.parts.items()}

    def write(self, folder: Path, headlines: Mapping[str, float]) -> list[str]:
        """Write all files to `folder`, each atomically; equal tables give equal bytes.

        Args:
            folder: Where they go. Curves that the record of an earlier run lists are removed, other files stay.
            headlines: What ``metrics.json`` holds.

        Returns:
            Paths of the files below `folder`.
        """
        for name, parts in self.parts.items():
            table = pa.concat_tables([SCHEMAS[name].empty_table(), *parts]).combine_chunks()
            with atomic_path(folder / f"{name}.parquet") as temporary:
                write_table(temporary, table, compression="zstd")
        write_text(folder / "metrics.json", json.dumps(headlines, indent=1, allow_nan=False) + "\n")
        (folder / CURVES).mkdir(exist_ok=True)  # DVC expects it, whatever the tasks are.
        curves = {f"{CURVES}/{name}.csv": curve for name, curve in self.curves.items()}
        _remove_curves(folder, curves)
        for name, curve in curves.items():
            lines = [f"{count},{recall:.{CURVE_DIGITS}f}\n" for count, recall in curve.items()]
            write_text(folder / name, CURVE_HEADER + "".join(lines))
        return [*(f"{name}.parquet" for name in self.parts), "metrics.json", *curves]


def _remove_curves(folder: Path, still: Collection[str]) -> None:
    """Remove the curves that an earlier run wrote and that are not made any more."""
    try:
        earlier = read_made_from(folder)
    except CorruptError as error:  # It is about to be written again.
        log.warning("%s", error.message)
        earlier = None
    for name in earlier.files if earlier else ():
        if name.startswith(f"{CURVES}/") and name not in still:
            (folder / name).unlink(missing_ok=True)
    foreign = sorted(path.name for path in (folder / CURVES).iterdir() if f"{CURVES}/{path.name}" not in still)
    if foreign:
        log.warning(
            "%s holds files that this stage did not list and that are left alone: %s",
            folder / CURVES,
            first_few(foreign),
        )


def _is_column(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)
