"""The connected space: frozen spaces plus their projectors, where every modality can be compared with every other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.connect.config import ConnectionConfig, load_config
from pipeline.connect.embed import check_rows, check_units, embed_payloads
from pipeline.connect.given.items import payloads_of
from pipeline.connect.given.rows import rows_of
from pipeline.connect.origins import ORIGINS_NAME, load_origins
from pipeline.connect.own_blocks import OwnBlocks
from pipeline.connect.pretrained import (
    FrozenSpaces,
    check_complete,
    check_is_the_one,
    fetch_again,
    published_folder,
)
from pipeline.connect.projected import Combining, Connected
from pipeline.errors import CorruptError, UserError, choice
from pipeline.methods import implementation, method_called
from pipeline.precision import multiplying
from pipeline.spaces import Space, SpaceSpec, load_space
from pipeline.spaces.device import check_device

PROJECT_ROWS = 16_384


class ConnectedSpace:
    """The result of one connection, ready to use::

        from pipeline.connect import ConnectedSpace

        space = ConnectedSpace.load("data/models/audio_image")
        images = space.embed("image", [open("dog.png", "rb").read()])
        sounds = space.embed("audio", [open("bark.flac", "rb").read()])
        print(images @ sounds.T)

    Attributes:
        config: How the connection was made.
        modalities: Every modality that one of its spaces embeds.
        dimension: Width E of the connected space.
        keep: Weight of the frozen spaces as blocks of their own, for all or by space; 0: there are none.
        joins_towers: Whether an item that several of its spaces embed becomes one vector of all of them.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        connected: Connected,
        device: str = "cpu",
        keep: float | Mapping[str, float] = 0.0,
    ) -> None:
        self.keep = keep
        self._combining = connected if isinstance(connected, Combining) else None
        self._blocks = OwnBlocks(config, connected, keep) if keep else None
        self.joins_towers = bool(self._blocks or self._combining)
        connected = self._blocks or connected
        self.config = config
        self.device = device
        self.modalities = tuple(
            dict.fromkeys(modality for space in config.spaces.values() for modality in space.modalities)
        )
        self.dimension = connected.dimension
        self._connected = connected
        self._frozen: dict[str, Space] = {}
        self._published: FrozenSpaces | None = None

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "cpu",
        keep: float | Mapping[str, float] = 0.0,
        combine: Mapping[str, float] | None = None,
    ) -> "ConnectedSpace":
        """Load the connection that the train stage wrote to `folder`.

        Args:
            folder: ``data/models/<connection>``.
            device: Where to compute.
            keep: Weight below 1 of the frozen spaces, for all or by space, which then stand as blocks beside the connected one
                (`OwnBlocks`). What params.yaml says under ``keep`` is no part of the model: nothing is trained for it.
            combine: By modality the factor of the leaves, from 0 to 1, of a method that combines them with its base
                (`pipeline.connect.combined`); no part of the model either.

        Raises:
            UserError: The folder is unfinished, or its files do not fit each other.
            CorruptError: The weights are not the ones that were written.
        """
        folder = Path(folder)
        config = load_config(folder)
        check_device(device)
        build = implementation(method_called(config.method).connected, "pipeline.connect")
        connected = build(config, folder, device)
        if combine:
            if not isinstance(connected, Combining):
                raise UserError(f"{config.method} does not combine leaves with its base.", "Leave `combine` out.")
            connected.combine(combine)
        return cls(config, connected, device, keep)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str = "cpu",
        keep: float | Mapping[str, float] | None = None,
        spaces: Mapping[str, str | Path] | None = None,
        revision: str | None = None,
    ) -> "ConnectedSpace":
        """Load a connection that `mcr publish` wrote, with its frozen spaces from wherever their owners publish them::

            space = ConnectedSpace.from_pretrained("owner/name")

        Its vectors are those of the project that it was published from; on a CPU with as many threads, to the bit.

        Args:
            source: A folder, or ``owner/name`` on the Hugging Face Hub.
            device: Where to compute.
            keep: See `load`; None for what the project used.
            spaces: By space: file or folder of its weights on this machine, where they are not public.
            revision: Commit, tag or branch on the hub.

        Raises:
            UserError: There is none, or its files do not fit each other. Later, where a space is loaded for the first time:
                its weights are not to be had, or are not the ones that the connection was made with.
            CorruptError: Files are not the ones that were published.
            TryAgainError: The hub cannot be reached.
        """
        folder = published_folder(source, revision)
        if not (folder / ORIGINS_NAME).is_file():
            raise UserError(
                f"{source} is not a published connection: it has no {ORIGINS_NAME}.",
                "Name a folder that `mcr publish` wrote; what `mcr train` wrote is opened by `ConnectedSpace.load`.",
            )
        origins = load_origins(folder)
        published = FrozenSpaces(folder, origins, spaces or {})
        check_complete(folder, origins, spaces or ())
        try:
            space = cls.load(folder, device, origins.keep if keep is None else keep, origins.combine)
        except CorruptError as error:
            raise CorruptError(error.message, fetch_again(folder)) from error
        space._published = published
        return space

    def space_of(self, modality: str) -> str:
        """Name of the space that embeds `modality`; the first in the connection's order if several do.

        Raises:
            UserError: No space of the connection embeds it.
        """
        for name, space in self.config.spaces.items():
            if modality in space.modalities:
                return name
        raise UserError(
            f"The connection {self.config.connection} has no modality {modality!r}.",
            choice(modality, self.modalities),
        )

    def towers(self, modality: str) -> tuple[str, ...]:
        """The spaces by which items of `modality` enter where they enter by several: those that were joined by it, and a base.

        Raises:
            UserError: No space of the connection embeds it.
        """
        joined = {
            (space, known)
            for link in self.config.links
            for space in link.spaces
            for known in (link.memories[space].modality, link.overlap)
        }
        found = tuple(
            name
            for name, record in self.config.spaces.items()
            if modality in record.modalities and (name == self.config.base or (name, modality) in joined)
        )
        return found or (self.space_of(modality),)

    @property
    def connected(self) -> Connected:
        """What maps embeddings into the connected space: unchecked, on the device, as a graph can be traced from it."""
        return self._connected

    def keeps_rows_of(self, space: str) -> bool:
        """Whether the rows of `space` are returned as they are: it is a base, and no blocks stand beside it."""
        return space == self.config.base and not self._blocks

    def project(
        self,
        space: str,
        vectors: Tensor | npt.NDArray[np.float32],
        modality: str | None = None,
        across: bool = False,
    ) -> Tensor:
        """Project embeddings [N, D] of the frozen `space` to unit rows [N, E], float32 on the CPU.

        The frozen embeddings are taken as they are, and must be unit vectors, as they are in every store. Those of the base
        are returned with every bit that they have.

        Args:
            space: A space of the connection.
            vectors: Its embeddings: a tensor, an array of any floats, a frame of pandas, or nested lists.
            modality: What they are embeddings of; a leaf of Ex-MCR and the bridge need to know.
            across: Whether blocks of frozen spaces are zero, for queries to a gallery of several modalities.

        Raises:
            UserError: Unknown space, vectors of another width, no modality where it matters, or a row that is no embedding: not finite,
                zero, or of another length than 1.
        """
        if not isinstance(space, str) or space not in self.config.spaces:
            raise self._no_space(space)
        if modality is not None and modality not in (known := self.config.spaces[space].modalities):
            raise UserError(f"The space {space} does not embed {modality!r}.", f"It embeds {', '.join(known)}.")
        vectors = rows_of(vectors)
        width = self.config.spaces[space].dimension
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise UserError(
                f"Vectors of shape {list(vectors.shape)} cannot be projected from {space}.",
                f"Pass an array [N, {width}].",
            )
        projected = torch.empty(len(vectors), self.dimension)
        for start in range(0, len(vectors), PROJECT_ROWS):
            # The result itself stays an ordinary tensor that callers may change.
            with torch.inference_mode(), multiplying():
                rows = vectors[start : start + PROJECT_ROWS].to(self.device, torch.float32)
                check_units(rows, _row_of(space, start))
                projected[start : start + len(rows)] = self._connected(space, rows, modality)
        check_rows(projected, _row_of(space))
        return self._masked(projected, across)

    def _masked(self, rows: Tensor, across: bool) -> Tensor:
        return self._blocks.across(rows) if self._blocks and across else rows

    def embed(
        self,
        modality: str,
        payloads: Sequence[bytes],
        space: str | None = None,
        across: bool = False,
        names: Sequence[str] | None = None,
    ) -> Tensor:
        """Embed the bytes of N files of `modality` as unit rows [N, E], float32 on the CPU.

        Where frozen spaces are kept as blocks, each space that embeds the modality fills its block; where leaves are combined with
        a base, each has its part.

        Args:
            modality: One of `modalities`.
            payloads: Contents of files as they lie in a shard (PNG, FLAC, UTF-8 text, ...).
            space: The one frozen space to use where several embed the modality.
            across: Whether blocks of frozen spaces are zero, for queries to a gallery of several modalities.
            names: What to call the payloads in messages; by default their numbers.

        Raises:
            UserError: Unknown modality or space, or a payload that cannot be used.
        """
        payloads, used = payloads_of(payloads), [space or self.space_of(modality)]
        if used[0] not in self.config.spaces or modality not in self.config.spaces[used[0]].modalities:
            raise UserError(
                f"There is no space {used[0]!r} that embeds {modality!r}.", f"Use {self.space_of(modality)}."
            )
        if self.joins_towers and not space:
            used = [*self.towers(modality)]
        frozen = {name: embed_payloads(self.frozen_space(name), modality, payloads, names) for name in used}
        return self.project_towers(frozen, modality, across)

    def project_towers(
        self, vectors: Mapping[str, Tensor | npt.NDArray[np.float32]], modality: str, across: bool = False
    ) -> Tensor:
        """Unit rows [N, E] of N items, each embedded by several frozen spaces; see `OwnBlocks.joined` and `Combining`.

        Args:
            vectors: By space its embeddings [N, D] of the same items; one space where no blocks are kept.
            modality: What they are embeddings of.
            across: See `project`.

        Raises:
            UserError: See `project`; or several spaces and no blocks that could hold them.
        """
        made = {name: self.project(name, rows, modality) for name, rows in vectors.items()}
        if len({len(rows) for rows in made.values()}) > 1:
            said = ", ".join(f"{len(rows)} of {name}" for name, rows in made.items())
            raise UserError(f"The towers have different numbers of rows: {said}.", "Pass embeddings of the same items.")
        if len(made) == 1:
            return self._masked(next(iter(made.values())), across)
        if not self.joins_towers:
            raise UserError("Without kept blocks, an item is embedded by one space.", "Load the space with `keep`.")
        combined = self._combined(vectors, modality) if self._combining else None
        if not self._blocks:
            assert combined is not None
            return combined
        return self._masked(self._blocks.joined(made, combined), across)

    def _combined(self, vectors: Mapping[str, Tensor | npt.NDArray[np.float32]], modality: str) -> Tensor:
        assert self._combining is not None
        tables, made = {name: rows_of(rows) for name, rows in vectors.items()}, []
        for start in range(0, len(next(iter(tables.values()))), PROJECT_ROWS):
            with torch.inference_mode(), multiplying():
                frozen = {
                    name: rows[start : start + PROJECT_ROWS].to(self.device, torch.float32)
                    for name, rows in tables.items()
                }
                made.append(self._combining.together(frozen, modality).cpu())
        return torch.cat(made).clone()

    def frozen_space(self, name: str) -> Space:
        """The frozen space `name`, loaded at its first use.

        Raises:
            UserError: There is none, or its weights are missing or not the ones that the connection was made with.
        """
        if not isinstance(name, str) or name not in self.config.spaces:
            raise self._no_space(name)
        if name not in self._frozen:
            record = self.config.spaces[name]
            spec = self._published.spec(name, record) if self._published else SpaceSpec(**record.spec)
            space = load_space(spec, self.device)
            if self._published:
                check_is_the_one(name, space, record)
            self._frozen[name] = space
        return self._frozen[name]

    def _no_space(self, name: object) -> UserError:
        return UserError(
            f"The connection {self.config.connection} has no space {name!r}.",
            choice(name, self.config.spaces),
        )

    def use_frozen(self, name: str, space: Space) -> None:
        """Use `space`, which is loaded already, as the frozen space `name`: one for several connections, say."""
        self._frozen[name] = space


def _row_of(space: str, start: int = 0) -> Callable[[int], str]:
    return lambda row: f"row {start + row} of those of {space}"
