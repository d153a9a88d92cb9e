"""From frozen embeddings into the connected space: by projectors, unless the record of a method names something else."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from pipeline.connect.config import PROJECTOR_NAME, ConnectionConfig
from pipeline.connect.projectors import DecoupledProjector, ProjectorSpec
from pipeline.connect.weights import load_projectors
from pipeline.errors import CorruptError, UserError
from pipeline.hashing import sha256_file


class Connected(Protocol):
    """What a connected space consists of. It is built from a configuration, the folder that holds it, and a device.

    Attributes:
        dimension: Width E of the connected space.
    """

    @property
    def dimension(self) -> int:
        """Width E of the connected space."""
        ...

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """Unit rows [N, E] of embeddings [N, D] of the frozen `space`, float32 on the device.

        `modality` is what they are embeddings of, where the caller knows.
        """
        ...


@runtime_checkable
class Combining(Protocol):
    """A `Connected` in which an item that several spaces embed is one vector."""

    def combine(self, factors: Mapping[str, float]) -> None:
        """Weigh the leaves, by modality, from now on."""
        ...

    def together(self, frozen: Mapping[str, Tensor], modality: str) -> Tensor:
        """Unit rows [N, E] of the same N items, `frozen` by space [N, D]; float32 on the device."""
        ...


class Projected:
    """Every space has a projector, except for a base, whose rows are returned with every bit that they have.

    Raises:
        UserError: The files do not fit the configuration.
        CorruptError: The weights are not the ones that were written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        self._config = config
        self.dimension = config.dimension
        self._projectors: dict[str, nn.Module] = {}
        if not config.projectors:
            raise UserError(
                f"{folder} has no projectors for {', '.join(config.spaces)}.", "Train the connection again."
            )
        # Links that were trained together have one file.
        held: dict[str, dict[str, ProjectorSpec]] = {}
        for link in config.links:
            specs = {space: config.projectors[space] for space in link.projected}
            held.setdefault(config.file_of(link.name, PROJECTOR_NAME), {}).update(specs)
        for name, specs in held.items():
            self._projectors |= load_projectors(checked_file(config, folder, name), specs)
        for projector in self._projectors.values():
            projector.to(device).eval()

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`.

        Raises:
            UserError: No modality where it matters.
        """
        return rows if space == self._config.base else self._way(space, modality)(rows)

    def _way(self, space: str, modality: str | None) -> Callable[[Tensor], Tensor]:
        """The projection of `space`; a leaf's overlapping modality skips the layer that only its other one needs."""
        projector = self._projectors[space]
        if not isinstance(projector, DecoupledProjector):
            return projector
        known = self._config.spaces[space].modalities
        if modality not in known:
            raise UserError(
                f"To project from {space} the modality of the vectors must be known, not {modality!r}.",
                f"Pass modality as one of: {', '.join(known)}.",
            )
        return projector.inter if modality == self._config.overlap_of(space) else projector


def checked_file(config: ConnectionConfig, folder: Path, name: str) -> Path:
    """The path of a file that `config`, which lies in `folder`, was written with.

    Raises:
        UserError: It does not exist.
        CorruptError: It is not the one that was written.
    """
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Run the train stage of this connection, or `dvc pull`.")
    if sha256_file(path) != config.files.get(name):
        raise CorruptError(f"{path} is not the file that was trained.", "Run `dvc checkout`, or train again.")
    return path
