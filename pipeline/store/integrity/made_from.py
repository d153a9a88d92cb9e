"""What results were made from: a record beside them that binds them to it, and to their own bytes."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import CorruptError
from pipeline.files.reading import written_by_us
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_once
from pipeline.store.manifest import MANIFEST_NAME, load_manifest

MADE_FROM_NAME = "_made_from.json"
_CONFIG_NAME = "config.json"  # Of a model; it lists the hashes of all its files.


@dataclass(frozen=True)
class MadeFrom:
    """Content of the record.

    Attributes:
        sources: By kind, which is the name of a folder (``models``), and by path below it: what was there.
        files: SHA-256 of the results by path beside the record.
    """

    sources: dict[str, dict[str, str]]
    files: dict[str, str]

    def changes(self, roots: Mapping[str, Path], missing: bool = True) -> list[str]:
        """What is not any more what the results were made from, in words.

        Args:
            roots: The folders of what is compared, by kind; nothing is said of other kinds.
            missing: Whether to say also what is not there at all.
        """
        said = []
        for kind, recorded in self.sources.items():
            for name, identity in recorded.items() if kind in roots else ():
                try:
                    now = identity_of(roots[kind] / name)
                except CorruptError:
                    said.append(f"{roots[kind] / name} was damaged")
                    continue
                if now != identity and (now or missing):
                    said.append(f"{roots[kind] / name} {'was changed' if now else 'is missing'}")
        return said

    def damaged(self, folder: Path) -> list[str]:
        """Results in `folder` that are missing or have other bytes, in words."""
        found = {name: folder / name for name in self.files}
        return [
            f"{name} {'is damaged or was changed' if path.is_file() else 'is missing'}"
            for name, path in found.items()
            if not path.is_file() or sha256_once(path) != self.files[name]
        ]


def identity_of(path: Path) -> str:
    """Hash of what a file, a store, a model or a folder with such a record holds; empty if it is not there."""
    if path.is_file():
        return sha256_once(path)
    if (path / MANIFEST_NAME).is_file():
        return load_manifest(path).content_hash
    return next((sha256_once(path / name) for name in (_CONFIG_NAME, MADE_FROM_NAME) if (path / name).is_file()), "")


def write_made_from(
    folder: Path, sources: Collection[tuple[str, str]], roots: Mapping[str, Path], files: Collection[str]
) -> None:
    """Write the record of the `files` in `folder`.

    Args:
        folder: Where the results lie.
        sources: Kind and path below the folder of this kind of everything that was read.
        roots: The folders, by kind.
        files: Results, by path below `folder`.
    """
    found: dict[str, dict[str, str]] = {}
    for kind, name in sorted(sources):
        found.setdefault(kind, {})[name] = identity_of(roots[kind] / name)
    record = MadeFrom(found, {name: sha256_once(folder / name) for name in sorted(files)})
    write_sealed(folder / MADE_FROM_NAME, asdict(record))


def read_made_from(folder: Path) -> MadeFrom | None:
    """The record in `folder`; None if there is none, as of results of earlier versions.

    Raises:
        CorruptError: It cannot be read.
    """
    path = folder / MADE_FROM_NAME
    if not path.is_file():
        return None
    with written_by_us(path, "Run the stage that writes it again."):
        return MadeFrom(**read_sealed(path))


def changes_since(folder: Path, roots: Mapping[str, Path], command: str, missing: bool = True) -> list[str]:
    """What is not any more what the results in `folder` were made from, in words; nothing without a record.

    Args:
        folder: Where the results lie.
        roots: The folders of what is compared, by kind.
        command: What makes the results again.
        missing: Whether to say also what is not there at all.

    Raises:
        CorruptError: The record or a result is damaged or missing.
    """
    if (record := read_made_from(folder)) is None:
        return []
    if damage := record.damaged(folder):
        raise CorruptError(f"{folder}: {'; '.join(damage)}.", f"Run `{command}` again.")
    return record.changes(roots, missing)
