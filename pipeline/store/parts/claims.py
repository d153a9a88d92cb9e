"""Which files of a folder of parts, and objects at its address, belong to its stage: nothing else is replaced or removed."""

from collections.abc import Collection
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.parts.elsewhere import Elsewhere
from pipeline.store.parts.names import path_in_folder
from pipeline.store.parts.subfolders import make_subfolders


class Claims:
    """What is ours in `folder`: all that one of its manifests or journals ever listed, and what this run is going to make.

    Args:
        folder: Of the parts.
        elsewhere: Where they lie.
        listed: Paths of files, and addresses, that earlier runs listed.
        lists_all: Whether these are all; what damaged files listed is not known any more.

    Attributes:
        places: Paths of files in the folder, and addresses.
    """

    def __init__(self, folder: Path, elsewhere: Elsewhere, listed: Collection[str], lists_all: bool) -> None:
        self._folder, self._elsewhere, self._lists_all = folder, elsewhere, lists_all
        self.places = set(listed)

    def path_of(self, file_name: str) -> str:
        """Path in the folder of the part called `file_name`, once it is made.

        Earlier versions put all parts into the folder itself: what they listed there is replaced there.
        """
        if self._elsewhere.address is None or self._elsewhere.place_of(file_name) in self.places:
            return file_name
        lost = not self._lists_all and (self._folder / file_name).is_file()  # with the record that listed it
        return file_name if lost else path_in_folder(file_name)

    def add(self, file_names: Collection[str]) -> list[str]:
        """From now on the places of the parts called `file_names` are ours, and there is a subfolder for each that needs one.

        Returns:
            Those that were not ours before.

        Raises:
            UserError: Something of somebody else lies at one of them.
        """
        paths = {self.path_of(name) for name in file_names}
        new = sorted({self._elsewhere.place_of(path) for path in paths} - self.places)
        if self._lists_all and self._elsewhere.address:
            self._elsewhere.refuse_strangers(new)
        elif self._lists_all and (strange := [name for name in new if (self._folder / name).exists()]):
            more, them = (f" (and {len(strange) - 1} more)", "them") if strange[1:] else ("", "it")
            raise UserError(
                f"{self._folder / strange[0]} is in the way{more}: nothing records that this stage made {them}.",
                f"Move what is in the way elsewhere; or, if the folder's {MANIFEST_NAME} was lost, restore it with `dvc checkout {self._folder}`.",
            )
        if self._elsewhere.address == "":
            make_subfolders(self._folder, paths)
        self.places.update(new)
        return new
