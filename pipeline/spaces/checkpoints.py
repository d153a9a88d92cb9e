"""Checkpoint files of other people: found, hashed, read without running their code, loaded strictly."""

import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.hashing import sha256_file

SAFE_SUFFIX = ".safetensors"
PICKLED_SUFFIXES = (".pt", ".pth", ".ckpt")
SUFFIXES = (SAFE_SUFFIX, *PICKLED_SUFFIXES)


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights and what is in it, as far as a fingerprint is concerned.

    Attributes:
        path: The file.
        sha256: Hash of its bytes.
    """

    path: Path
    sha256: str


class _Leftover:
    """Stands for objects that training runs leave beside the weights: their arguments, numpy learning rates.

    The public CLAP and ULIP checkpoints hold such objects. Unpickled to this class they run nothing, not even
    the constructor of the class that they name.
    """

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# The only names beyond tensors and plain values that a pickled checkpoint may mention.
LEFTOVERS = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)


def find_checkpoint(location: str, sha256: str = "") -> Checkpoint:
    """The checkpoint at `location`, a file or a folder with exactly one checkpoint file in it, and its hash.

    By convention the weights of space NAME lie in ``data/spaces/NAME/``.

    Raises:
        UserError: Nothing is there, a folder holds none or several, it is another kind of file, or its hash is not
            `sha256` (which is not checked when empty).
    """
    path = Path(location)
    if not location or not path.exists():
        raise UserError(
            f"The checkpoint {location!r} does not exist.",
            "Put the file there (weights of space NAME belong in data/spaces/NAME/), or correct `checkpoint` of the space.",
        )
    if path.is_dir():
        path = _only_file(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is not a checkpoint: its name ends in {path.suffix or 'nothing'}.", _kinds())
    found = sha256_file(path)
    if sha256 and found != sha256.lower():
        raise UserError(
            f"{path} has sha256 {found}, but the space asks for {sha256}.",
            "Fetch the right file, or correct `sha256` of the space if this is the checkpoint that you mean.",
        )
    return Checkpoint(path, found)


def _only_file(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"There is no checkpoint in {folder}.", _kinds())
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:3]) + (", ..." if len(files) > 3 else "")
        raise UserError(
            f"There are {len(files)} checkpoints in {folder}: {names}.",
            "Name the file in `checkpoint`, or keep only one.",
        )
    return files[0]


def _kinds() -> str:
    return (
        f"A checkpoint is a {SAFE_SUFFIX} file (preferred: it cannot run code) or a {', '.join(PICKLED_SUFFIXES)} file."
    )


def read_tensors(checkpoint: Checkpoint, key: str = "state_dict") -> dict[str, Tensor]:
    """The tensors in a checkpoint by name, on the CPU.

    In a pickled file they are the entry `key`, or the whole file where there is no such entry. A prefix ``module.``
    that all names share, a trace of data-parallel training, is removed.

    Raises:
        UserError: The file is damaged, is no checkpoint, or names classes that we do not unpickle.
    """
    content = _read(checkpoint.path)
    if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
        content = content[key]
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"{checkpoint.path} is not a checkpoint: it holds no dictionary of tensors.",
            "Use the file that the authors of the model publish.",
        )
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _read(path: Path) -> object:
    try:
        if path.suffix == SAFE_SUFFIX:
            return load_file(path)
        # Mapped, the optimizer's state in a training checkpoint (two thirds of CLAP's file) is never read.
        with torch.serialization.safe_globals([(_Leftover, name) for name in LEFTOVERS]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        refused = re.search(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) (\S+)", str(error))
        if refused:
            what = f"{path} holds more than weights ({refused[1]}), and reading that could run code."
            hint = "If you trust where it comes from, save its tensors as .safetensors and use that file."
        elif zipfile.is_zipfile(path) and "Unsupported operand" in str(error):
            what = f"{path} was pickled in a way that cannot be read safely."
            hint = "If you trust where it comes from, save its tensors as .safetensors and use that file."
        else:
            what = f"{path} is not a checkpoint, or it is damaged."
            hint = "Fetch it again, and compare its sha256 with the one that its authors give."
        raise UserError(what, hint) from error


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    """Load `tensors` into `module`: every name must be there, none may be left over, every shape must be the same.

    Args:
        module: What is loaded.
        tensors: By name.
        path: Where they come from, for the message.
        architecture: What `module` is, for the message.

    Raises:
        UserError: They do not fit; the first three names of each kind of misfit are given.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} {list(tensors[name].shape)} for {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    misfits = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
    if misfits:
        raise UserError(
            f"{path} is not a checkpoint of {architecture}: {'; '.join(misfits)}.",
            "Choose the `model` and the options that the checkpoint was trained with, or another checkpoint.",
        )
    module.load_state_dict(tensors)


def _first(names: Collection[str]) -> str:
    shown = list(names)[:3]
    return ", ".join(shown) + (", ..." if len(names) > 3 else "")
