"""A published evaluation set in our own terms, and how it is written: manifests of files, captions, prompts, tables."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path, write_bytes, write_text

SEPARATOR = "-"
ABOUT = "set.json"
KEY = pa.field("key", pa.string())
LABELS = pa.schema([KEY, ("label", pa.string())])
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prepared:
    """An evaluation set.

    Attributes:
        split: Which of the published samples these are.
        files: By modality: key and path from the set's folder of each sample.
        captions: Key of the item and text; several for one item.
        labels: Key of a sample and key of its class; several for one sample.
        classes: Every class by key: its name in a prompt.
        templates: Prompts with {} for the name of the class.
        regions: Key of the sound, key of the picture, and a box in shares of the picture (x0, y0, x1, y1), or None
            where the picture does not show what sounds.
        agreement: Annotators who make a place certain.
        converted: By modality and key: makes the bytes of a .npy file, where the published file is none that is read.
        listed: Samples that the annotations list; more than are there, since files vanish from the web.
    """

    split: str
    listed: int
    files: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    captions: Sequence[tuple[str, str]] = ()
    labels: Sequence[tuple[str, str]] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    templates: Sequence[str] = ()
    regions: Sequence[tuple[str, str, Box | None]] = ()
    agreement: int = 1
    converted: Mapping[str, Mapping[str, Callable[[], bytes]]] = field(default_factory=dict)

    @property
    def modalities(self) -> list[str]:
        """Modalities of its files."""
        return [*self.files, *self.converted]


def key_of(name: str) -> str:
    """`name` as a key: letters, digits, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)


def write_prepared(name: str, prepared: Prepared, raw: Path, annotations: Path) -> dict[str, int]:
    """Write the set to the folder `raw` and its tables to `annotations`; ``set.json`` is whole when all else is there.

    Converted files of an earlier run are removed where the set no longer has them.

    Args:
        name: Of the set.
        prepared: Its content.
        raw: Folder for the manifests.
        annotations: Folder for the tables.

    Returns:
        Rows by what was written.

    Raises:
        UserError: Two samples would get the same key, a file is in the way that no run wrote, or the earlier table is
            not ours.
    """
    for modality, samples in prepared.files.items():
        _check_unique(name, modality, [key for key, _ in samples])
    table = annotations / f"{name}.parquet"
    if not (raw / ABOUT).exists():
        places = [raw / f"{modality}.jsonl" for modality in prepared.files]
        places += [raw / "captions.jsonl"] * bool(prepared.captions)
        # A run of an earlier version that was killed left a table without a set.json, but its keys beside it.
        places += [raw / "prompts.jsonl", *([] if _noted(table).exists() else [table])] * bool(prepared.classes)
        places += [annotations / f"{name}-regions.parquet"] * bool(prepared.regions)
        refuse_others(places)
    if not prepared.converted:
        return _written(name, prepared, raw, annotations, set())
    files = (raw / modality / f"{key}.npy" for modality, makers in prepared.converted.items() for key in makers)
    with earlier_keys(table, LABELS, files) as earlier:
        return _written(name, prepared, raw, annotations, earlier)


def refuse_others(paths: Iterable[Path]) -> None:
    """Refuse to write where somebody else's files are.

    Raises:
        UserError: One of `paths` exists.
    """
    if other := next(filter(os.path.lexists, paths), None):
        raise UserError(f"{other} is in the way: no run of this command wrote it.", "Move it away and run it again.")


def _written(name: str, prepared: Prepared, raw: Path, annotations: Path, earlier: Set[str]) -> dict[str, int]:
    write_text(raw / ABOUT, json.dumps({"set": name}) + "\n")  # from here on all is ours, also if this run is killed
    counts: dict[str, int] = {}
    for modality, samples in prepared.files.items():
        rows = ({"key": key, "path": path} for key, path in samples)
        counts[modality] = _write_lines(raw / f"{modality}.jsonl", rows)
    for modality, makers in prepared.converted.items():
        for key in earlier - makers.keys():
            (raw / modality / f"{key}.npy").unlink(missing_ok=True)
        for key, make in makers.items():
            write_bytes(raw / modality / f"{key}.npy", make())
        counts[modality] = len(makers)
    if prepared.captions:
        counts["captions"] = _write_lines(raw / "captions.jsonl", _numbered(prepared.captions))
    if prepared.classes:
        prompts = [
            (key, template.replace("{}", text))
            for key, text in prepared.classes.items()
            for template in prepared.templates
        ]
        counts["prompts"] = _write_lines(raw / "prompts.jsonl", _numbered(prompts))
        counts["labels"] = len(prepared.labels)
        columns = list(zip(*prepared.labels, strict=True))
        _write_table(annotations / f"{name}.parquet", {"key": columns[0], "label": columns[1]})
    if prepared.regions:
        sounds, pictures, boxes = zip(*prepared.regions, strict=True)
        corners = {edge: [box and box[at] for box in boxes] for at, edge in enumerate(("x0", "y0", "x1", "y1"))}
        _write_table(annotations / f"{name}-regions.parquet", {"audio": sounds, "image": pictures, **corners})
        counts["regions"] = len(boxes)
    about = {"set": name, "split": prepared.split, "listed": prepared.listed, "rows": counts}
    about |= {"classes": len(prepared.classes), "templates": list(prepared.templates)}
    write_text(raw / ABOUT, json.dumps(about, indent=1) + "\n")
    return counts


@contextmanager
def earlier_keys(table: Path, columns: pa.Schema, files: Iterable[Path]) -> Iterator[set[str]]:
    """Keys of the files that earlier runs wrote, also one that was killed before it wrote its `table`.

    Those of the `files` that this run writes, ``<key>.<ending>``, are noted beside the table for as long.

    Raises:
        UserError: `table` exists, but does not have our `columns`; or one of `files` exists that no run wrote.
    """
    noted = _noted(table)
    found = _keys_of(table, columns) | _keys_of(noted, pa.schema([KEY]))
    files = list(files)
    refuse_others(path for path in files if path.stem not in found)
    _write_table(noted, {"key": sorted(found.union(path.stem for path in files))})
    yield found
    noted.unlink()


def _noted(table: Path) -> Path:
    return table.with_name(f".{table.name}.keys")


def _keys_of(table: Path, columns: pa.Schema) -> set[str]:
    """The keys in a table of ours that can be names of files in one folder; we write no others."""
    if not table.is_file():
        return set()
    try:
        found = pq.read_table(pa.BufferReader(table.read_bytes()))
    except (OSError, pa.ArrowException):  # Arrow has both for a file that is no table
        found = None
    if found is None or not found.schema.equals(columns, check_metadata=True):  # pandas leaves metadata, we none
        raise UserError(f"{table} is not a table that mcr-connect wrote.", "Move it away and run the command again.")
    keys = found["key"].to_pylist()
    return {key for key in keys if isinstance(key, str) and key and key == key_of(key)}


def _numbered(texts: Iterable[tuple[str, str]]) -> Iterable[dict[str, str]]:
    """Texts under the keys ``<item>-0``, ``<item>-1``, ..."""
    seen: dict[str, int] = {}
    for item, text in texts:
        number = seen.get(item, 0)
        seen[item] = number + 1
        yield {"key": f"{item}{SEPARATOR}{number}", "text": text}


def _check_unique(name: str, modality: str, keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise UserError(
                f"Two {modality} files of {name} would get the key {key!r}.", "Rename one of them, and its annotation."
            )
        seen.add(key)


def _write_lines(path: Path, rows: Iterable[Mapping[str, str]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


def _write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(
            pa.table({name: pa.array(list(column)) for name, column in columns.items()}),
            temporary,
            write_page_checksum=True,
        )
