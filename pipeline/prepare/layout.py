"""A folder as its publishers describe it: what is not where it must be is one error that shows the whole layout."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files.foreign import HEAD_BYTES, foreign_text
from pipeline.files.plain_yaml import shown
from pipeline.modalities import EXTENSIONS, SOURCE_EXTENSIONS

LEVELS = 4  # above a folder, where its files are looked for when they are not in it


def files_below(folder: Path) -> list[Path]:
    """Files in a folder, those below it and those that links lead to, each folder once; hidden ones are left out."""
    seen, found = set(), []
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link that leads in a circle
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for name in names if not name.startswith(".") and (path := Path(place, name)).is_file()]
    return sorted(found)


@dataclass(frozen=True)
class Layout:
    """A published evaluation set on disk.

    Attributes:
        title: What it is called.
        root: The folder.
        text: What must be in there, in one line.
    """

    title: str
    root: Path
    text: str

    def wrong(self, path: str, problem: str) -> UserError:
        """The error that `path`, relative to the folder, has a `problem`; a folder near by that has it is named."""
        there = "" if (self.root / path).exists() else self._near(path)
        return UserError(
            f"{self.root / path} {problem}.{there}", f"{self.title} is read from a folder with {self.text}."
        )

    def _near(self, path: str) -> str:
        below = sorted(each for each in self.root.iterdir() if each.is_dir()) if self.root.is_dir() else []
        above = self.root.resolve().parents[:LEVELS]
        found = next((folder for folder in (*below, *above) if (folder / path).exists()), None)
        return f" It is in {found}: name that folder." if found else ""

    def file(self, path: str) -> Path:
        """A file.

        Raises:
            UserError: It is missing.
        """
        if not (self.root / path).is_file():
            if (packed := self.root / f"{path}.gz").is_file():
                raise self.wrong(path, f"is missing: unpack {packed.name}")
            raise self.wrong(path, "is missing")
        return self.root / path

    def content(self, path: str) -> str:
        """A text file.

        Raises:
            UserError: It is missing, or no UTF-8 text.
        """
        content = self.file(path).read_bytes()
        if instead := foreign_text(content[:HEAD_BYTES]):
            raise self.wrong(path, f"is {instead[0]}")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.wrong(path, "is not UTF-8 text") from error

    def lines(self, path: str) -> list[str]:
        """Lines of a text file that are not blank.

        Raises:
            UserError: It is missing, empty or no UTF-8 text.
        """
        found = [
            line.strip() for line in io.StringIO(self.content(path), newline=None)
        ]  # a caption may hold other breaks
        if not any(found):
            raise self.wrong(path, "is empty")
        return [line for line in found if line]

    def cells(self, path: str, width: int, delimiter: str = ",") -> list[list[str]]:
        """Rows of a file without a header, each of at least `width` cells; lines that begin with # are left out.

        Raises:
            UserError: It is missing or no CSV, or a row is shorter.
        """
        lines = [line for line in self.lines(path) if not line.startswith("#")]
        # A quote that nothing closes would swallow the rows after it.
        reader, rows, first = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True), [], 0
        try:
            for row in reader:
                rows.append(row)
                first = reader.line_num
        except csv.Error as error:
            raise self.wrong(path, f"cannot be read from the row {shown(lines[first], 80)} on ({error})") from error
        short = next((row for row in rows if len(row) < width), None)
        if short is not None or not rows:
            raise self.wrong(path, f"has a row of {len(short)} cells, not {width}" if short is not None else "is empty")
        return rows

    def table(self, path: str, columns: Sequence[str]) -> list[dict[str, str]]:
        """Rows of a CSV file with a header that has at least `columns`.

        Raises:
            UserError: It is missing, has no such columns, or a row is shorter.
        """
        header, *rows = self.cells(path, 1)
        if missing := [column for column in columns if column not in header]:
            raise self.wrong(path, f"has the columns {', '.join(header)}, but no {', '.join(missing)}")
        if any(len(row) != len(header) for row in rows):
            raise self.wrong(path, f"has a row without {len(header)} cells")
        return [dict(zip(header, row, strict=True)) for row in rows]

    def json(self, path: str) -> Any:
        """Content of a JSON file.

        Raises:
            UserError: It is missing or no JSON.
        """
        try:
            return json.loads(self.content(path))
        except ValueError as error:
            raise self.wrong(path, "is not JSON") from error

    def media(self, folder: str, modality: str) -> dict[str, str]:
        """Files of `modality` in a folder and below it: their paths from the root, by their paths from the folder
        without extension.

        Raises:
            UserError: There is none.
        """
        wanted = {*EXTENSIONS[modality], *SOURCE_EXTENSIONS.get(modality, ())}
        found = {}
        for path in files_below(self.root / folder):
            if path.suffix[1:].lower() in wanted:
                inside = path.relative_to(self.root / folder).as_posix()
                found[inside[: -len(path.suffix)]] = path.relative_to(self.root).as_posix()
        if not found:
            endings = ", ".join(f".{extension}" for extension in sorted(wanted))
            raise self.wrong(folder, f"holds no {modality} file ({endings})")
        return found

    def held(self, wanted: Sequence[str], *media: dict[str, str], where: str) -> list[str]:
        """Those of `wanted` that are in all `media`, each once; what is gone from the web cannot be measured.

        Raises:
            UserError: None of them is there, which is no matter of vanished files.
        """
        found = [name for name in dict.fromkeys(wanted) if all(name in files for files in media)]
        if not found:
            example = next(iter(wanted), "")
            raise self.wrong(where, f"holds none of the {len(set(wanted))} files that are listed (such as {example!r})")
        return found
