"""Files of weights: which ones a location means, and what they are when they are not weights after all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, first_few
from pipeline.hashing import sha256_file, sha256_json

SAFE_SUFFIX = ".safetensors"
PICKLED_SUFFIXES = (".pt", ".pth", ".ckpt")
HUB_SUFFIX = ".bin"  # what hub folders call a pickled file, often beside the same weights as .safetensors
SUFFIXES = (SAFE_SUFFIX, *PICKLED_SUFFIXES, HUB_SUFFIX)
INDEX_SUFFIX = ".index.json"  # names the shards of weights that were cut into several files
POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what is in them as far as a fingerprint is concerned.

    Attributes:
        path: The file; of weights in several files, their index.
        sha256: Hash of its bytes; of several files, hash of their names and hashes.
        shards: The files named by the index; nothing where there is one file.
    """

    path: Path
    sha256: str
    shards: tuple[Path, ...] = ()


def find_checkpoint(location: str, sha256: str = "") -> Checkpoint:
    """The checkpoint at `location`, see `checkpoint_files`, and its hash.

    Raises:
        UserError: There is none, or its hash is not `sha256` (which is not checked when empty).
    """
    path, *shards = checkpoint_files(location)
    hashes = {file.name: sha256_file(file) for file in shards or [path]}
    found = sha256_json(hashes) if shards else hashes[path.name]
    if sha256 and found != sha256.lower():
        raise UserError(
            f"{path} has sha256 {found}, but the space asks for {sha256}.",
            "Fetch the right file, or correct `sha256` of the space if this is the intended checkpoint.",
        )
    return Checkpoint(path, found, tuple(shards))


def checkpoint_files(location: str) -> list[Path]:
    """The files of the checkpoint at `location`: a file, an index of shards, or a folder with exactly one of them.

    By convention the weights of space NAME lie in ``data/spaces/NAME/``.

    Returns:
        The file; of weights in several files their index, and after it the shards.

    Raises:
        UserError: Nothing is there, a folder holds none or several, a shard is missing, or it is another kind of file.
    """
    path = Path(location)
    if not location or not path.exists():
        raise UserError(
            f"The checkpoint {location!r} does not exist.",
            "Put the file there (weights of space NAME belong in data/spaces/NAME/), or correct `checkpoint` of the space.",
        )
    if path.is_dir():
        path = _only_file(path)
    if not path.name.endswith((*SUFFIXES, INDEX_SUFFIX)):
        raise UserError(f"{path} is not a checkpoint: its name ends in {path.suffix or 'nothing'}.", _kinds())
    files = [path, *_shards(path)] if path.name.endswith(INDEX_SUFFIX) else [path]
    for file in files:
        refuse_pointer(file)
    return files


def refuse_pointer(path: Path) -> None:
    """Refuse the note of a few lines that git-lfs leaves in place of a large file that was not fetched.

    Raises:
        UserError: `path` is one.
    """
    with open(path, "rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(
                f"{path} is a pointer of git-lfs, {path.stat().st_size} bytes, not the file itself.",
                "Run `git lfs pull` where it was cloned, or fetch the file itself: `mcr fetch`.",
            )


def _only_file(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    indices = [path for path in files if path.name.endswith(tuple(f"{suffix}{INDEX_SUFFIX}" for suffix in SUFFIXES))]
    sharded = {shard for index in indices for shard in _named(index)}
    # Some folders hold the same weights twice, as .safetensors and as .bin.
    for suffixes in (SUFFIXES[:-1], (HUB_SUFFIX,)):
        candidates = [path for path in files if path.name.endswith(suffixes) and path not in sharded]
        candidates += [path for path in indices if path.name.removesuffix(INDEX_SUFFIX).endswith(suffixes)]
        if len(candidates) > 1:
            names = first_few([path.name for path in candidates])
            raise UserError(
                f"There are {len(candidates)} checkpoints in {folder}: {names}.",
                "Name the file in `checkpoint`, or keep only one.",
            )
        if candidates:
            return candidates[0]
    raise UserError(
        f"There is no checkpoint in {folder}.",
        f"Put the weights there; `mcr fetch` gets those that the recipe names. {_kinds()}",
    )


def _shards(index: Path) -> Sequence[Path]:
    shards = _named(index)
    if missing := [path.name for path in shards if not path.is_file()]:
        raise UserError(
            f"{index} names {len(shards)} files, and {len(missing)} of them are missing: {first_few(missing)}.",
            "Put them beside it.",
        )
    if not shards:
        raise UserError(
            f"{index} is not an index of weights.", "It needs a `weight_map` from tensors to files beside it."
        )
    return shards


def _named(index: Path) -> list[Path]:
    refuse_pointer(index)
    try:
        names = json.loads(index.read_text())["weight_map"].values()
        # Only files beside the index: it may come from anywhere.
        return [index.parent / name for name in sorted(set(names)) if Path(name).name == name]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _kinds() -> str:
    return (
        f"A checkpoint is a {SAFE_SUFFIX} file (preferred: it cannot run code), a {', '.join(PICKLED_SUFFIXES)} or "
        f"{HUB_SUFFIX} file, or weights in several files with their {SAFE_SUFFIX}{INDEX_SUFFIX}."
    )
