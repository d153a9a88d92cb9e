"""What is known about an evaluation set besides its embeddings: tables with the classes of samples, or with boxes."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluate.settings import Labels
from pipeline.files.foreign import HEAD_BYTES, foreign_text

READERS = {
    "csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    "tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t"),
    "jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, convert_dates=False),
    "parquet": lambda path: pd.read_parquet(path, partitioning=None, page_checksum_verification=True),
}


def read_columns(annotations: Path | None, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """The `columns` of a table of the annotations.

    Args:
        annotations: Folder of the tables.
        table: Its name in the folder.
        columns: What is needed of it.

    Raises:
        UserError: There is no such table, it cannot be read, or a column is missing.
    """
    if annotations is None:
        raise UserError("A task reads annotations, but there are none.", "Name the folder that holds them.")
    path = annotations / table
    if not path.is_file():
        raise UserError(
            f"The annotations {path} do not exist.",
            "Put the table there, or correct the task in params.yaml; `mcr prepare` writes those of the known sets.",
        )
    kind = path.suffix[1:].lower()
    if kind not in READERS:
        raise UserError(f"{path} is not a supported kind of table.", f"Known are .{', .'.join(READERS)}.")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.startswith(b"PAR1") and (instead := foreign_text(head)):
        raise UserError(f"{path} is {instead[0]}.", instead[1])
    try:
        found = READERS[kind](path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as .{kind} ({error}).", "Write or fetch the file again.") from error
    if missing := [column for column in columns if column not in found]:
        raise UserError(
            f"{path} has the columns {', '.join(map(str, found))}, but no {', '.join(missing)}.",
            "Correct the file, or the names of the columns in the task.",
        )
    return found[list(columns)]


def read_labels(annotations: Path | None, labels: Labels) -> dict[str, list[str]]:
    """The classes of each key, in the order of the table; blanks around either are not part of it.

    Raises:
        UserError: The table is missing or has no such columns.
    """
    rows = read_columns(annotations, labels.table, [labels.key, labels.column])
    found: dict[str, list[str]] = {}
    for key, label in zip(rows[labels.key], rows[labels.column], strict=True):
        classes = found.setdefault(str(key).strip(), [])
        for each in label if isinstance(label, list | np.ndarray) else [label]:
            name = "" if each is None else str(each).strip()
            if name and name not in classes:
                classes.append(name)
    return found


def read_marks(annotations: Path | None, labels: Labels) -> dict[str, bool]:
    """What a column of truth values says of each key; of one in several rows, whether any of them is true.

    Raises:
        UserError: The table is missing, has no such columns, or the column holds something else.
    """
    rows = read_columns(annotations, labels.table, [labels.key, labels.column])
    words = {"true": True, "1": True, "false": False, "0": False, "": False}
    marks = [words.get(str(value).strip().lower()) for value in rows[labels.column]]
    if None in marks:
        raise UserError(
            f"The column {labels.column!r} of {labels.table} holds {rows[labels.column][marks.index(None)]!r}, "
            "which is neither true nor false.",
            "Name a column of true and false, or of 1 and 0.",
        )
    found: dict[str, bool] = {}
    for key, mark in zip(rows[labels.key], marks, strict=True):
        name = str(key).strip()
        found[name] = bool(mark) or found.get(name, False)
    return found


def class_key(name: str) -> str:
    """How a class is called in the keys of its prompts, which hold letters, digits, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)


def single_labels(classes: dict[str, list[str]], labels: Labels) -> dict[str, str]:
    """The one class of each key; keys without any are left out.

    Raises:
        UserError: A key has several classes.
    """
    several = next((key for key, names in classes.items() if len(names) > 1), None)
    if several is not None:
        raise UserError(
            f"{several!r} has several classes in the column {labels.column!r}: {', '.join(classes[several][:3])}.",
            "Use a `tagging` task, or a table with one class for each key.",
        )
    return {key: names[0] for key, names in classes.items() if names}
