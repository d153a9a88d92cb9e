"""Which files of a folder of parts, and objects at its address, belong to its stage: nothing else is replaced or removed."""

from collections.abc import Collection
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store.parts.elsewhere import Elsewhere


class Claims:
    """What is ours in `folder`: all that one of its manifests or journals ever listed, and what this run is going to make.

    Args:
        folder: Of the parts.
        elsewhere: Where they lie.
        listed: Names of files, and addresses, that earlier runs listed.
        lists_all: Whether these are all; what damaged files listed is not known any more.

    Attributes:
        places: Names of files in the folder, and addresses.
    """

    def __init__(self, folder: Path, elsewhere: Elsewhere, listed: Collection[str], lists_all: bool) -> None:
        self._folder, self._elsewhere, self._lists_all = folder, elsewhere, lists_all
        self.places = set(listed)

    def add(self, names: Collection[str]) -> list[str]:
        """From now on the places of the parts called `names` are ours.

        Returns:
            Those that were not ours before.

        Raises:
            UserError: Something of somebody else lies at one of them.
        """
        new = sorted({self._elsewhere.place_of(name) for name in names} - self.places)
        if self._lists_all and self._elsewhere.address:
            self._elsewhere.refuse_strangers(new)
        elif self._lists_all and (strange := next((name for name in new if (self._folder / name).exists()), "")):
            raise UserError(
                f"{self._folder / strange} is in the way: this stage did not make it.",
                "Move the file away; the folder belongs to the stage.",
            )
        self.places.update(new)
        return new
