"""A published connection, from a folder or from the Hugging Face Hub, and the frozen spaces that belong to it."""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.connect.config import CONFIG_NAME, SpaceRecord, load_config
from pipeline.connect.origins import INCLUDED, ORIGINS_NAME, Origin, Origins, inside
from pipeline.errors import CorruptError, UserError, choice
from pipeline.hashing import sha256_json, sha256_once
from pipeline.spaces import Space, SpaceSpec
from pipeline.spaces.weights.hub import hub_errors
from pipeline.store.differences import differences
from pipeline.store.integrity.agreement import IDENTITY

# What a published connection consists of, and weights of any kind that lie with it; whatever else its repository holds is not
# fetched.
PATTERNS = (CONFIG_NAME, ORIGINS_NAME, "*.safetensors", "*.npy", "*.json", f"{INCLUDED}/*")


def published_folder(source: str | Path, revision: str | None) -> Path:
    """The folder of a published connection on this machine; one of the hub is fetched into its cache.

    Raises:
        UserError: There is none.
        TryAgainError: The hub cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)):
        raise UserError(
            f"{source} is neither a folder nor the name of a repository.",
            "Name a folder that `mcr publish` wrote, or owner/name on the Hugging Face Hub.",
        )
    import huggingface_hub

    with hub_errors(f"The repository {source}"):
        return Path(huggingface_hub.snapshot_download(str(source), revision=revision, allow_patterns=list(PATTERNS)))


def fetch_again(folder: Path) -> str:
    """What to do about a published connection in `folder` that is not whole."""
    cached = folder.parent.parent if folder.parent.name == "snapshots" else folder
    return f"Remove {cached} and get it again; if that does not help, ask its publisher."


def check_complete(folder: Path, origins: Origins, given: Collection[str]) -> None:
    """See that `folder` holds every file of the published connection but those of the spaces `given`, and that these lie in it.

    Raises:
        UserError: One is missing, or the configuration is not valid or names a file elsewhere.
        CorruptError: The configuration is damaged.
    """
    files = load_config(folder, fetch_again(folder)).files
    within = (
        f"{origin.within}/{file}"
        for name, origin in origins.spaces.items()
        if origin.within != "." and name not in given
        for file in origin.files
    )
    for name in (*files, *within):
        try:
            inside(name)
        except ValueError as error:
            raise UserError(f"{folder / CONFIG_NAME} is not valid: {error}.", fetch_again(folder)) from error
        if not (folder / name).is_file():
            raise UserError(f"{folder} is incomplete: it has no {name}.", fetch_again(folder))


class FrozenSpaces:
    """Finds the frozen spaces of a published connection, and sees that they are the ones that it was made with.

    Args:
        folder: The published connection.
        origins: Where its spaces come from.
        given: By space: file or folder of its weights on this machine, which then is used.
    """

    def __init__(self, folder: Path, origins: Origins, given: Mapping[str, str | Path]) -> None:
        self._folder, self._origins = folder, origins
        self._given = {name: str(path) for name, path in given.items()}
        if strange := sorted(self._given.keys() - origins.spaces.keys()):
            raise UserError(f"The connection has no space {strange[0]!r}.", choice(strange[0], origins.spaces))

    def spec(self, name: str, record: SpaceRecord) -> SpaceSpec:
        """What loads the space `name` on this machine.

        Raises:
            UserError: Nobody knows where its weights are from, or they are not there any more.
            CorruptError: They are not those that were published.
            TryAgainError: The hub cannot be reached.
        """
        return replace(SpaceSpec(**record.spec), checkpoint=self._given.get(name) or self._found(name))

    def _found(self, name: str) -> str:
        origin = self._origins.spaces.get(name)
        if origin is None or not origin.is_known:
            files = ", ".join(origin.files if origin else ())
            raise UserError(
                f"The weights of the space {name} were not published with the connection{f' ({files})' if files else ''}.",
                f'Say where they are: from_pretrained(..., spaces={{"{name}": "path"}}).',
            )
        if origin.reference:
            if Path(origin.reference).exists():  # a name on the hub must not become a file of this machine
                raise UserError(
                    f"{origin.reference} is a file here, but the connection means a name on the hub.",
                    "Work in another folder.",
                )
            return origin.reference
        folder = self._folder / origin.within if origin.within != "." else _fetched(name, origin)
        for file, entry in origin.files.items():
            if sha256_once(folder / file) != entry.sha256:
                raise CorruptError(f"{folder / file} is not the file that was published.", fetch_again(self._folder))
        return str(folder / origin.checkpoint) if origin.checkpoint != "." else str(folder)


def check_is_the_one(name: str, space: Space, record: SpaceRecord) -> None:
    """See that `space` is the one that a connection was made with.

    Raises:
        UserError: It has other weights, or another version of its code; both are named.
    """
    encoders = (record.model_extra or {}).get("encoders") or {}
    for modality, encoder in encoders.items():
        now = space.fingerprint(modality)
        said = [field for field in IDENTITY if field in encoder and field in now]
        reasons = differences({field: encoder[field] for field in said}, {field: now[field] for field in said})
        if reasons:
            raise UserError(
                f"The space {name} is not the one that the connection was made with: {'; '.join(reasons)}.",
                "Use the weights and the version of mcr-connect that it was made with.",
            )


def _fetched(name: str, origin: Origin) -> Path:
    """A folder with the files of `origin` under their names, made of what the cache of the hub holds."""
    import huggingface_hub

    identity = sha256_json({file: entry.model_dump() for file, entry in origin.files.items()})
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE).parent / "mcr-connect" / identity[:32]
    for file, entry in origin.files.items():
        with hub_errors(f"{entry.path} of {entry.repository}, which belongs to the space {name},"):
            cached = huggingface_hub.hf_hub_download(entry.repository, entry.path, revision=entry.revision or None)
        if sha256_once(Path(cached)) != entry.sha256:
            raise UserError(
                f"{entry.path} of {entry.repository} is not the file that the connection was made with.",
                "It was replaced on the hub: ask the publisher of the connection.",
            )
        _put(Path(cached), folder / file)
    return folder


def _put(source: Path, target: Path) -> None:
    if target.exists() and os.path.samefile(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.symlink(os.path.realpath(source), temporary)
    except OSError:  # a system without links
        shutil.copy(source, temporary)
    os.replace(temporary, target)
