"""How a part, or a table beside the parts, comes to be committed: a line in the journal, then its name."""

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from pipeline.files.atomic import discard, move, temporary_file
from pipeline.hashing import sha256_file
from pipeline.store.integrity.unchanged import UnchangedParts, look_of
from pipeline.store.manifest import Manifest, Part
from pipeline.store.parts.claims import Claims
from pipeline.store.parts.elsewhere import Elsewhere
from pipeline.store.parts.file import file_here
from pipeline.store.parts.journal import JOURNAL_NAME, Journal


class Ledger:
    """What of `folder` is committed; for the one who holds its lock.

    Args:
        folder: Of the parts.
        manifest: Kind, fingerprint and corpus.
        claims: Which files are ours.
        elsewhere: Where the parts lie.
        continues: Whether the journal that is there is one of this fingerprint.

    Attributes:
        parts: What this run kept or made, by file name.
        unchanged: What is known of their files.
    """

    def __init__(self, folder: Path, manifest: Manifest, claims: Claims, elsewhere: Elsewhere, continues: bool) -> None:
        self.folder, self.claims, self.elsewhere = folder, claims, elsewhere
        self.parts: dict[str, Part] = {}
        self.unchanged = UnchangedParts(folder)
        self._manifest, self._continues = manifest, continues
        self._journal: Journal | None = None

    def journal(self) -> Journal:
        """The journal; from its first entry on, readers take the folder for unfinished."""
        if self._journal is None:
            # The parts of the manifest need no second entry: it is kept until the new one replaces it.
            header = {
                "kind": self._manifest.kind,
                "fingerprint": self._manifest.fingerprint,
                "corpus": self._manifest.corpus,
                "own": sorted(self.claims.places),
            }
            self._journal = Journal(self.folder, None if self._continues else header)
            self._continues = True
        return self._journal

    @property
    def begun(self) -> bool:
        """Whether there is a journal, of this run or of one before."""
        return self._journal is not None or (self.folder / JOURNAL_NAME).exists()

    def claim(self, file_names: Collection[str]) -> None:
        """From now on the places of the parts called `file_names` are ours, also if this run ends here.

        Raises:
            UserError: See `Claims.add`.
        """
        continues = self._continues
        new = self.claims.add(file_names)
        if file_names and self.elsewhere.address:
            self.journal()  # Before an object that a manifest lists is replaced.
        if new and continues:
            self.journal().append({"own": new})

    def commit(self, part: Part, temporary: str) -> None:
        """List `part`, then give the file `temporary` in the folder its name; empty where it lies at an address already."""
        waiting, path = self.folder / temporary, self.folder / part.name
        try:
            journal = self.journal()
        except BaseException:
            if temporary:
                discard(waiting)  # Nothing lists it: under its final name it would be in everybody's way.
            raise
        try:
            journal.append({"part": part.entry(), "temporary": temporary})
            if temporary:
                # Should a power cut bring the temporary name back, the journal still knows it.
                move(waiting, path, durably=False)
        except BaseException:
            with suppress(OSError):  # A signal: the journal may list the part by now.
                if temporary:
                    os.replace(waiting, path)
            raise
        if here := file_here(self.folder, part):
            self.unchanged.hashed(str(here) if part.location else part.name, part.sha256, look_of(here))
        self.parts[part.file_name] = part

    def is_intact(self, part: Part, path: Path) -> bool:
        """Whether the file `path` of `part` is as it was committed; one that looks untouched since then is not read."""
        name = str(path) if part.location else part.name
        if self.unchanged.vouch(name, part.sha256):
            return True
        look = look_of(path)
        if sha256_file(path) != part.sha256:
            return False
        self.unchanged.hashed(name, part.sha256, look)
        return True

    def in_order(self) -> tuple[Part, ...]:
        """The parts in the order of their file names."""
        return tuple(self.parts[name] for name in sorted(self.parts))

    def write_table(self, name: str, write: Callable[[Path], None]) -> str:
        """Write a table if it is not there already as it should be; its hash."""
        path = self.folder / name
        with temporary_file(path) as temporary:
            write(temporary)
        digest = sha256_file(temporary)
        if path.is_file() and sha256_file(path) == digest:
            discard(temporary)
        else:
            self.journal()
            move(temporary, path)
        return digest

    def end(self, manifest: Manifest) -> None:
        """Write `manifest` in place of the journal."""
        journal = self.journal()
        manifest.save(self.folder)
        journal.remove()
        self._journal = None

    def close(self) -> None:
        """Leave the journal as it is, for the next run to go on with."""
        if self._journal:
            self._journal.close()
            self._journal = None
