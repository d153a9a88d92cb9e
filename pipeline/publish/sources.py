"""Where the frozen spaces of a connection come from: what the project knows of the files that it gives them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.connect.origins import INCLUDED, Origin, OriginFile
from pipeline.errors import UserError
from pipeline.hashing import sha256_once
from pipeline.spaces import SpaceSpec, weight_files
from pipeline.spaces.weights.hub import HUB


@dataclass(frozen=True)
class Source:
    """What is known of one file of the project.

    Attributes:
        repository: ``owner/name`` on the hub.
        revision: The commit.
        path: Where it is there.
        licence: What its owner says.
        sha256: Hash that it had when it was fetched; empty where nobody looked.
    """

    repository: str
    revision: str
    path: str
    licence: str
    sha256: str


def origin_of(name: str, spec: SpaceSpec, known: Mapping[Path, Source], included: Collection[str]) -> Origin:
    """Where the space `name` comes from.

    Args:
        name: The space.
        spec: What loads it in the project.
        known: What is known of files, by their absolute path.
        included: Spaces whose weights are given away with the connection.

    Raises:
        UserError: Its weights are missing, or cannot be included.
    """
    place = Path(spec.checkpoint)
    if not place.exists():
        if spec.checkpoint.startswith(HUB) or not (place.suffix or len(place.parts) > 1):
            return Origin(reference=spec.checkpoint)
        raise UserError(f"{place} does not exist.", f"Put the weights of the space {name} there, or `dvc pull`.")
    files = {_name(file, place): file for file in weight_files(spec)}
    sources = {inside: known.get(file.resolve()) for inside, file in files.items()}
    hashes = {inside: sha256_once(file) for inside, file in files.items()}
    licences = tuple(dict.fromkeys(source.licence for source in sources.values() if source))
    checkpoint = "." if place.is_dir() else place.name
    if name in included:
        held = {inside: OriginFile(sha256=digest) for inside, digest in hashes.items()}
        return Origin(checkpoint=checkpoint, files=held, within=f"{INCLUDED}/{name}", licences=licences)
    found = {
        inside: OriginFile(
            sha256=hashes[inside], repository=source.repository, revision=source.revision, path=source.path
        )
        # A file that was changed since it was fetched is not the one on the hub.
        if source and source.sha256 in ("", hashes[inside])
        else OriginFile(sha256=hashes[inside])
        for inside, source in sources.items()
    }
    return Origin(checkpoint=checkpoint, files=found, licences=licences)


def files_within(spec: SpaceSpec, origin: Origin) -> dict[str, Path]:
    """By name in the folder `origin.within`: the files that are copied there."""
    place = Path(spec.checkpoint)
    return {_name(file, place): file for file in weight_files(spec)} if origin.within != "." else {}


def _name(file: Path, place: Path) -> str:
    """Name of a file of weights beside or below the checkpoint at `place`."""
    folder = place if place.is_dir() else place.parent
    if not file.absolute().is_relative_to(folder.absolute()):
        return file.name
    return file.absolute().relative_to(folder.absolute()).as_posix()
