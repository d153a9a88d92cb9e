"""Projectors of centred embeddings: what is projected is told by what sets it apart from others of its modality."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projected import Projected, checked_file
from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path

CENTRES_NAME = "centres.safetensors"


def save_centres(folder: Path, centres: Mapping[str, Tensor]) -> None:
    """Write mean embeddings [D] by ``<space>.<modality>``; equal means give equal bytes."""
    with atomic_path(folder / CENTRES_NAME) as temporary:
        save_file({name: mean.cpu().contiguous() for name, mean in sorted(centres.items())}, temporary)


class CentredProjected(Projected):
    """See `Connected`: the mean of its modality is taken from an embedding before it is projected. A base stays as it is.

    Raises:
        UserError: The files do not fit the configuration.
        CorruptError: A file is not the one that was written.
    """

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        super().__init__(config, folder, device)
        self._centres: dict[str, Tensor] = {}
        for name in dict.fromkeys(config.file_of(link.name, CENTRES_NAME) for link in config.links):
            found = load_file(checked_file(config, folder, name))
            self._centres |= {place: mean.to(device) for place, mean in found.items()}

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """See `Connected`.

        Raises:
            UserError: The modality is not said, or is none of those whose mean is known.
        """
        if space == self._config.base:
            return rows
        if (centre := self._centres.get(f"{space}.{modality}")) is None:
            known = [name.partition(".")[2] for name in self._centres if name.startswith(f"{space}.")]
            raise UserError(
                f"The connection {self._config.connection} has no mean for {modality} in {space}.",
                f"Pass a modality that it was made from: {', '.join(known)}.",
            )
        return super().__call__(space, normalize(rows - centre, dim=1), modality)
