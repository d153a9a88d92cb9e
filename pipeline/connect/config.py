"""``config.json``: all that is needed to load a connected space and to know how it was made."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.files.reading import written_by_us
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_json
from pipeline.links import Link, upgraded
from pipeline.settings import Settings, first_problem
from pipeline.store.manifest import MANIFEST_NAME, load_manifest

CONFIG_NAME = "config.json"
PROJECTOR_NAME = "projector.safetensors"
SCHEMA_VERSION: Final = 2


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


class TrainedLink(Link):
    """A link with what it was trained on.

    Attributes:
        train: Settings that the numbers depend on.
        pairs: Content hash of its pairs.
        arithmetic: Kind of device and precision that trained it, such as ``cuda bf16``; not written where nothing was
            trained, and in those of earlier versions, trained in fp32.
    """

    train: dict[str, Any]
    pairs: str
    arithmetic: str = ""


class ConnectionConfig(Settings):
    """Content of ``config.json``. No time stamp, no host name: equal inputs give equal bytes.

    Every link has a folder of its own with its weights and a configuration that names this link alone; the folder of the
    connection holds those folders and a configuration that unites them.

    Attributes:
        code: Version of the training code; a change of it makes earlier results stale.
        spaces: The frozen spaces in the connection's order: the first that embeds a modality is its default.
        links: What joins them.
        projectors: By space; a base has none, and nothing has one where the method trains none.
        files: SHA-256 by name of the files that this configuration was written with.
        plugin: Version and source hash of a method of somebody else; not written for one of ours.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    code: int
    connection: str
    method: str
    spaces: dict[str, SpaceRecord] = Field(min_length=1)
    links: tuple[TrainedLink, ...] = Field(min_length=1)
    projectors: dict[str, ProjectorSpec]
    seed: int
    threads: int
    files: dict[str, str] = Field(default={})
    plugin: dict[str, str] = Field(default={})

    @property
    def base(self) -> str:
        """The space that all others are projected into; empty where there is none."""
        return self.links[0].base

    @property
    def dimension(self) -> int:
        """Width E of what projectors make: the base's own where there is one; 0 where there are none."""
        if self.base:
            return self.spaces[self.base].dimension
        return next((spec.dimension for spec in self.projectors.values()), 0)

    @property
    def pairs(self) -> str:
        """Content hash of the pairs of all links."""
        return sha256_json([link.pairs for link in self.links])

    def file_of(self, link: str, name: str) -> str:
        """Path, relative to this configuration, of a file of `link`: beside it in the link's own folder, else in that."""
        return name if name in self.files else f"{link}/{name}"

    def overlap_of(self, space: str) -> str:
        """The overlapping modality by which `space` was joined."""
        return next((link.overlap for link in self.links if space in link.projected), "")

    def identity(self) -> dict[str, Any]:
        """All that decides the weights of a link, or of links that were trained together: not what its files and corpora are called, since
        hashes of their content are here.
        """
        content: dict[str, Any] = self._plain({"files"})
        links = content.pop("links")
        for link in links:
            link["memories"] = {space: memory["modality"] for space, memory in link["memories"].items()}
        if len(links) > 1:  # Trained together.
            return {**content, "links": [_undescribed(link) for link in links]}
        content |= {name: links[0].pop(name) for name in ("train", "pairs")}
        return {**content, "link": _undescribed(links[0])}

    def save(self, folder: Path) -> None:
        """Write the configuration to `folder` atomically; it is the last file of a finished connection.

        A file that says the same stays as it is: what was measured with it is known by its bytes.
        """
        content = self._plain(set())
        with suppress(OSError, ValueError):
            if json.dumps(read_sealed(folder / CONFIG_NAME)) == json.dumps(content):
                return
        write_sealed(folder / CONFIG_NAME, content)

    def _plain(self, left_out: set[str]) -> dict[str, Any]:
        plain: dict[str, Any] = self.model_dump(mode="json", exclude=left_out if self.plugin else {*left_out, "plugin"})
        for link in plain["links"]:
            if not link["arithmetic"]:
                del link["arithmetic"]
        return plain


def _undescribed(link: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in link.items() if name not in ("queries", "sets", "arithmetic")}


def unite(configs: Mapping[str, ConnectionConfig]) -> ConnectionConfig:
    """One configuration for the links of a connection.

    Args:
        configs: By name of the link, in the connection's order: the configuration in its folder.
    """
    first = next(iter(configs.values()))
    return first.model_copy(
        update={
            "spaces": {space: record for config in configs.values() for space, record in config.spaces.items()},
            "links": tuple(link for config in configs.values() for link in config.links),
            "projectors": {space: spec for config in configs.values() for space, spec in config.projectors.items()},
            "files": {f"{link}/{name}": sha for link, config in configs.items() for name, sha in config.files.items()},
        }
    )


def other_pairs(link: TrainedLink, pairs: Path) -> list[Path]:
    """Folders of the pairs of `link`, below `pairs`, if they hold others than it was trained on.

    None if they are those, or are not there, or if it was imported and nobody knows what it was trained on.
    """
    places = [pairs / link.place / name for name in link.sets]
    manifests = [load_manifest(place) for place in places if (place / MANIFEST_NAME).is_file()]
    if not link.pairs or not places or len(manifests) < len(places):
        return []
    return places if sha256_json([manifest.content_hash for manifest in manifests]) != link.pairs else []


def load_config(folder: Path, again: str = "") -> ConnectionConfig:
    """Read and check the configuration in `folder`; one of an earlier version is brought up to date.

    Args:
        folder: The connection.
        again: What to do about one that is missing or damaged; by default to train it.

    Raises:
        UserError: There is none, another version of this program wrote it, or it contradicts itself.
        CorruptError: It is damaged.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} is not a finished connection: it has no {CONFIG_NAME}.",
            again or "Run the train stage of this connection, or `dvc pull`.",
        )
    again = again or "Train the connection again."
    try:
        with written_by_us(path, again):
            content = read_sealed(path)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version not in (1, SCHEMA_VERSION):
            raise UserError(
                f"{path} has schema version {version}, this program reads 1 and {SCHEMA_VERSION}.",
                f"Use the version of mcr-connect that wrote it; if none did, {again[0].lower()}{again[1:]}",
            )
        with written_by_us(path, again):
            content = upgraded(content)
        config = ConnectionConfig.model_validate(content)
    except ValidationError as error:
        problem = first_problem(error, "all of it")
        raise UserError(f"{path} is not valid: {problem}.", again) from error
    if contradiction := _contradiction(config):
        raise UserError(f"{path} {contradiction}.", again)
    return config


def _contradiction(config: ConnectionConfig) -> str:
    """What does not agree in `config`; empty if everything does."""
    if config.base and config.base not in config.spaces:
        return f"has a base {config.base} that is none of its spaces"
    if config.projectors and config.projectors.keys() != config.spaces.keys() - {config.base}:
        return f"has projectors for {', '.join(config.projectors)} but spaces {', '.join(config.spaces)}"
    if {space for link in config.links for space in link.projected} != config.spaces.keys() - {config.base}:
        return "does not say how each space was joined"
    if {link.base for link in config.links} != {config.base}:
        return "has links to different bases"
    if {spec.dimension for spec in config.projectors.values()} - {config.dimension}:
        return "has projectors of different output widths"
    for name, spec in config.projectors.items():
        if spec.input != (width := config.spaces[name].dimension):
            return f"has a projector of {name} that takes {spec.input} numbers, but the space has {width}"
    return ""
