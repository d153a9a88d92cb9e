"""The parts of a folder that lie at an address: what is there, what is in the way, what has to move.

Manifest, journal and lock stay in the folder: they decide what exists. Of the objects only those count that they list.
"""

import logging
import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.errors import TryAgainError, UserError, first_few
from pipeline.files.address import local_path
from pipeline.files.atomic import temporary_file
from pipeline.store.manifest import Location, Part
from pipeline.store.parts.file import checked_part, judged_part
from pipeline.store.parts.names import subfolder_of
from pipeline.store.remote.objects import listed, located, put

log = logging.getLogger(__name__)

# Web servers list nothing; each object of theirs is asked about.
_UNLISTED = ("http://", "https://")


def lies_at(part: Part) -> str:
    """Where the file of `part` lies: its address, or its path in the folder."""
    return part.location.address if part.location else part.name


class Elsewhere:
    """What `folder` keeps, or kept, at addresses. Each address is listed when it is first asked about.

    Args:
        folder: Of the manifest.
        address: Where its parts are to lie from now on; empty: in the folder; None: each where it lies.
    """

    def __init__(self, folder: Path, address: str | None) -> None:
        self.folder, self.address = folder, address
        self._listings: dict[str, dict[str, Location]] = {}

    def place_of(self, path: str) -> str:
        """Where the part whose path in the folder is `path` is to lie: its address, or this path."""
        return f"{self.address}/{path}" if self.address else path

    def settled(self, part: Part) -> bool:
        """Whether `part` lies where it is to lie."""
        return self.address is None or lies_at(part) == self.place_of(part.name)

    def wrong(self, part: Part) -> str:
        """Why the object of `part` is not the one that was recorded, in words; empty if it is."""
        if reason := self._differs(part):
            return reason
        if part.location and part.location.etag:
            return ""
        return judged_part(self.folder, part)  # The store has no word for the content, so all of it is read.

    def _differs(self, part: Part) -> str:
        assert part.location
        base, _, name = part.location.address.rpartition("/")
        if self.address and part.location.address.startswith(f"{self.address}/"):
            base, name = self.address, part.location.address.removeprefix(f"{self.address}/")
        if base.startswith(_UNLISTED):
            found: Location | None = located(part.location.address)
        elif path := local_path(part.location.address):  # a listing does not look behind links to folders
            found = Location(part.location.address, path.stat().st_size) if path.is_file() else None
        else:
            found = self._listing(base).get(name)
        if found is None:
            return f"{part.location.address} is missing"
        return "" if found == part.location else f"{part.location.address} was changed"

    def refuse_strangers(self, places: Iterable[str]) -> None:
        """See that nothing lies at the addresses `places`, none of which this folder ever listed, nor where they need a folder.

        Raises:
            UserError: Something does, or the address cannot be used.
        """
        there = self._listing(self.address) if self.address else {}
        for path in (place.removeprefix(f"{self.address}/") for place in places):
            taken = (path, subfolder_of(path)) if local_path(self.address or "") else (path,)
            if strange := next((name for name in taken if name in there), ""):
                raise UserError(
                    f"{self.place_of(strange)} is in the way: {self.folder} has no record that it was made here.",
                    "Choose another address in `storage`, or move the object away; an address belongs to one project.",
                )

    def confirm(self, parts: Collection[Part], anew: bool) -> None:
        """See that all of `parts` lie as recorded, before a manifest says so.

        Args:
            parts: What the manifest is going to list.
            anew: Ask the store again, because something was written.

        Raises:
            TryAgainError: One is missing or another one: somebody else writes there.
        """
        if anew:
            self._listings.clear()
        for part in parts:
            if part.location and (reason := self._differs(part)):
                raise TryAgainError(
                    f"{reason} since this run last saw it.",
                    "Make sure that nobody else writes to this address, then run the same command again.",
                )

    def stale(self, own: Collection[str], parts: Collection[Part]) -> list[str]:
        """Objects at the address that this folder listed and lists no more; others stay, and a warning names them.

        Args:
            own: Everything that the folder ever listed, see `lies_at`.
            parts: What its manifest is going to list.
        """
        if not self.address:
            return []
        there = {self.place_of(name) for name in self._listing(self.address)} - {lies_at(part) for part in parts}
        if foreign := sorted(place.removeprefix(f"{self.address}/") for place in there - set(own)):
            log.warning(
                "%s holds objects that this stage did not make and leaves alone: %s", self.address, first_few(foreign)
            )
        return sorted(there & set(own))

    def moved(self, part: Part, path: str) -> tuple[Part, str]:
        """Copy the file of `part` to where it is to lie; what it is copied from stays.

        Args:
            part: Which part.
            path: Of the part in the folder from now on.

        Returns:
            The part as it lies there, and the temporary path of the copy where that is in the folder.
        """
        source, place = checked_part(self.folder, part), self.place_of(path)
        log.info("%s/%s moves from %s to %s", self.folder, part.name, lies_at(part), place)
        if self.address:
            return replace(part, name=path, location=put(source, place)), ""
        with temporary_file(self.folder / path) as temporary:
            shutil.copyfile(source, temporary)
        return replace(part, name=path, location=None), temporary.relative_to(self.folder).as_posix()

    def _listing(self, address: str) -> dict[str, Location]:
        if address not in self._listings:
            self._listings[address] = listed(address)
        return self._listings[address]
