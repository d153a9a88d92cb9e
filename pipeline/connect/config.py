"""``config.json``: all that is needed to load a connected space and to know how it was made."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from pipeline.atomic import write_text
from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.reading import read_bytes, written_by_us
from pipeline.settings import Settings

CONFIG_NAME = "config.json"
PROJECTOR_NAME = "projector.safetensors"
SCHEMA_VERSION = 1


class SpaceRecord(Settings):
    """A frozen space as its embedding stores describe it; what else their fingerprint says is kept as it is.

    Attributes:
        spec: The fields of `pipeline.spaces.SpaceSpec`.
        modalities: The modalities that the space embeds.
        dimension: Width D of its embeddings.
    """

    model_config = ConfigDict(extra="allow")

    spec: dict[str, Any]
    modalities: tuple[str, ...] = Field(min_length=1)
    dimension: int = Field(ge=1)


class LinkRecord(Settings):
    """How one leaf was joined to the base; the fields of `ConnectionConfig` that differ between leaves."""

    overlap: str
    memories: dict[str, str]
    train: dict[str, Any]
    pairs: str


class ConnectionConfig(Settings):
    """Content of ``config.json``. No time stamp, no host name: equal inputs give equal bytes.

    A connection of several leaves is the union of folders of one leaf each: ``<leaf>/config.json`` and its weights.

    Attributes:
        code: Version of the training code; a change of it makes earlier results stale.
        spaces: The frozen spaces in the connection's order: the first that embeds a modality is its default.
        base: The space that all others are projected into and that has no projector itself; empty where there is none.
        overlap: The overlapping modality; empty for the oracle and where each leaf has its own.
        memories: By space, the modality of its other input (the pseudo-partners).
        leaves: By leaf, how it was joined; empty unless the configuration unites leaves.
        train: Settings that the numbers depend on.
        pairs: Content hash of the pseudo-pairs.
        files: SHA-256 by name of the files that this configuration was written with.
    """

    schema_version: Literal[1] = 1
    code: int
    connection: str
    method: str
    spaces: dict[str, SpaceRecord] = Field(min_length=1)
    base: str = ""
    overlap: str
    memories: dict[str, str]
    projectors: dict[str, ProjectorSpec]
    train: dict[str, Any]
    pairs: str
    seed: int
    threads: int
    files: dict[str, str] = Field(default={})
    leaves: dict[str, LinkRecord] = Field(default={})

    @property
    def dimension(self) -> int:
        """Width E of the connected space: the base's own where there is one."""
        return self.spaces[self.base].dimension if self.base else next(iter(self.projectors.values())).dimension

    @property
    def weights(self) -> dict[str, dict[str, ProjectorSpec]]:
        """By file, relative to the configuration: the projectors in it."""
        if not self.leaves:
            return {PROJECTOR_NAME: self.projectors}
        return {f"{leaf}/{PROJECTOR_NAME}": {leaf: self.projectors[leaf]} for leaf in self.leaves}

    def overlap_of(self, space: str) -> str:
        """The overlapping modality by which `space` was joined."""
        return self.leaves[space].overlap if space in self.leaves else self.overlap

    def save(self, folder: Path) -> None:
        """Write the configuration to `folder` atomically; it is the last file of a finished connection."""
        unused = {name for name in ("base", "leaves") if not getattr(self, name)}
        write_text(folder / CONFIG_NAME, json.dumps(self.model_dump(mode="json", exclude=unused), indent=1) + "\n")


def load_config(folder: Path) -> ConnectionConfig:
    """Read and check the configuration in `folder`.

    Raises:
        UserError: There is none, another version of this program wrote it, or it contradicts itself.
        CorruptError: It is damaged.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} is not a finished connection: it has no {CONFIG_NAME}.",
            "Run the train stage of this connection, or `dvc pull`.",
        )
    try:
        with written_by_us(path, "Train the connection again."):
            content = json.loads(read_bytes(path))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}.",
                "Use the version of mcr-connect that wrote it, or train again.",
            )
        config = ConnectionConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UserError(f"{path} is not valid: {where}: {first['msg']}.", "Train the connection again.") from error
    _check_consistent(path, config)
    return config


def _check_consistent(path: Path, config: ConnectionConfig) -> None:
    if config.base and config.base not in config.spaces:
        raise UserError(f"{path} has a base {config.base} that is none of its spaces.", "Train the connection again.")
    if config.projectors.keys() != config.spaces.keys() - {config.base}:
        raise UserError(
            f"{path} has projectors for {', '.join(config.projectors)} but spaces {', '.join(config.spaces)}.",
            "Train the connection again.",
        )
    if config.leaves and config.leaves.keys() != config.projectors.keys():
        raise UserError(f"{path} does not say how each leaf was joined.", "Train the connection again.")
    if {spec.dimension for spec in config.projectors.values()} != {config.dimension}:
        raise UserError(f"{path} has projectors of different output widths.", "Train the connection again.")
    for name, spec in config.projectors.items():
        width = config.spaces[name].dimension
        if spec.input != width:
            raise UserError(
                f"{path}: the projector of {name} takes {spec.input} numbers, the space has {width}.",
                "Train the connection again.",
            )
