"""Find the raw samples of a corpus: a folder of files, a captions file, or a manifest."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.hashing import sha256_bytes
from pipeline.modalities import EXTENSIONS, MODALITY_OF, TEXT

# WebDataset splits a member name at the first dot, so a key has none.
KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True)
class RawMember:
    """One raw file, or one caption, of a sample.

    Attributes:
        extension: Its extension in the shard, lower case.
        origin: Where it comes from, for messages.
        read: Returns its bytes.
    """

    extension: str
    origin: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class RawSample:
    """A key and its members by modality, as the source gives them: not checked yet."""

    key: str
    members: dict[str, RawMember]


def find_samples(source: Path, modalities: Sequence[str]) -> list[RawSample]:
    """All samples of `source` that hold at least one of `modalities`, in the order of the source.

    Raises:
        UserError: The source does not exist, is of a kind that is not understood, or holds no such sample.
    """
    if source.is_dir():
        samples = _from_folder(source, modalities)
    elif source.is_file() and source.suffix in READERS:
        samples = list(READERS[source.suffix](source))
    elif source.is_file():
        raise UserError(
            f"{source} is no kind of corpus that is understood.",
            f"Give a folder of files, or a file that ends in {', '.join(READERS)}.",
        )
    else:
        raise UserError(f"The source {source} does not exist.", "Put the data there or correct `source` in params.yaml.")
    if not samples:
        wanted = ", ".join(f".{extension}" for modality in modalities for extension in EXTENSIONS[modality])
        raise UserError(f"{source} holds no sample of {', '.join(modalities)}.", f"Looked for files that end in {wanted}.")
    return samples


def key_of_path(relative: Path) -> str:
    """The permanent key of a file: its path without extension; where that is no valid key, a readable form
    of it with a hash that keeps two such paths apart."""
    name = relative.with_suffix("").as_posix()
    if KEY.fullmatch(name):
        return name
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', name)[:180]}-{sha256_bytes(name.encode())[:12]}"


def _from_folder(folder: Path, modalities: Sequence[str]) -> list[RawSample]:
    found: dict[str, list[dict[str, RawMember]]] = {}
    for path in sorted(folder.rglob("*")):
        extension = path.suffix[1:].lower()
        modality = MODALITY_OF.get(extension)
        if modality not in modalities or not path.is_file() or path.name.startswith("."):
            continue
        member = RawMember(extension, str(path), path.read_bytes)
        samples = found.setdefault(key_of_path(path.relative_to(folder)), [{}])
        # A second file of the same modality under the same key is a duplicate, not a member.
        if modality in samples[-1]:
            samples.append({})
        samples[-1][modality] = member
    return [RawSample(key, members) for key, samples in found.items() for members in samples]


def _from_jsonl(path: Path) -> Iterator[RawSample]:
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, text = str(row.get("key", f"{number - 1:08d}")), row["text"]
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f'Line {number} of {path} is not {{"key": ..., "text": ...}} ({error!r}).', "Correct or remove the line."
            ) from error
        yield _caption(key, text, f"{path}:{number}")


def _from_txt(path: Path) -> Iterator[RawSample]:
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if line.strip():
            yield _caption(f"{number - 1:08d}", line.strip(), f"{path}:{number}")


def _from_table(path: Path) -> Iterator[RawSample]:
    import pandas as pd

    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, keep_default_na=False)
    if "key" not in table or not ({"text", "path"} & set(table.columns)):
        raise UserError(
            f"{path} has the columns {', '.join(map(str, table.columns))}.",
            "A manifest has a column `key`, and `text` (captions) or `path` (files, relative to the manifest).",
        )
    for row in table.to_dict("records"):
        key = str(row["key"])
        if "text" in row:
            yield _caption(key, row["text"], f"{path}:{key}")
        else:
            file = path.parent / str(row["path"])
            extension = file.suffix[1:].lower()
            yield RawSample(key, {MODALITY_OF.get(extension, ""): RawMember(extension, str(file), file.read_bytes)})


def _caption(key: str, text: object, origin: str) -> RawSample:
    content = text.encode() if isinstance(text, str) else b""
    return RawSample(key, {TEXT: RawMember("txt", origin, lambda: content)})


READERS: dict[str, Callable[[Path], Iterator[RawSample]]] = {
    ".jsonl": _from_jsonl,
    ".txt": _from_txt,
    ".csv": _from_table,
    ".parquet": _from_table,
}
