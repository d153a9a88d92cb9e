"""The tensors in checkpoints of other people: read without running their code, loaded strictly."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError, first_few
from pipeline.files.foreign import HEAD_BYTES, foreign
from pipeline.files.os_errors import explained
from pipeline.files.reading import retried
from pipeline.spaces.weights.checkpoint_files import (
    INDEX_SUFFIX,
    SAFE_SUFFIX,
    SUFFIXES,
    Checkpoint,
    checkpoint_files,
    find_checkpoint,
)
from pipeline.spaces.weights.swelling import check_swelling
from pipeline.spaces.weights.torchscript import is_program, program_tensors

__all__ = [
    "SAFE_SUFFIX",
    "SUFFIXES",
    "Checkpoint",
    "checkpoint_files",
    "find_checkpoint",
    "load_strictly",
    "read_tensors",
    "tensors_of",
]

# What training leaves before every name: data-parallel, compiled and Lightning modules.
WRAPPERS = ("module.", "_orig_mod.", "model.")


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


def read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors in a checkpoint by name, on the CPU.

    In a pickled file they are the entry ``state_dict``, or the whole file where there is no such entry; of a TorchScript program
    they are its parameters and buffers. A prefix that all names share and that is a trace of training is removed.

    Raises:
        UserError: The file is damaged, is not a checkpoint, or names classes that we do not unpickle.
    """
    return tensors_of((checkpoint.path, *checkpoint.shards))


def tensors_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors in the files of one checkpoint, as `checkpoint_files` gives them; see `read_tensors`."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        if not path.name.endswith(INDEX_SUFFIX):
            tensors |= _tensors_in(path)
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors


def _tensors_in(path: Path) -> dict[str, Tensor]:
    content = _read(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = dict(content) if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"{path} is not a checkpoint: it holds no dictionary of tensors.",
            "Use the file that the authors of the model publish.",
        )
    return tensors


def _read(path: Path) -> object:
    try:
        if path.suffix == SAFE_SUFFIX:
            return retried(lambda: load_file(path))
        check_swelling(path)
        if is_program(path):
            return program_tensors(path)
        # Mapped, the optimizer's state in a training checkpoint (two thirds of CLAP's file) is never read.
        with torch.serialization.safe_globals([(_Leftover, name) for name in LEFTOVERS]):
            mapped = zipfile.is_zipfile(path)
            return retried(lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:
        if said := explained(error, path):
            raise said from error
        refused = re.search(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) (\S+)", str(error))
        if refused:
            what = f"{path} holds more than weights ({refused[1]}), and reading that could run code."
            hint = "If you trust where it comes from, save its tensors as .safetensors and use that file."
        elif zipfile.is_zipfile(path) and "Unsupported operand" in str(error):
            what = f"{path} was pickled in a way that cannot be read safely."
            hint = "If you trust where it comes from, save its tensors as .safetensors and use that file."
        else:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            # A damaged checkpoint of torch begins as a ZIP archive, which it is.
            found = None if head.startswith(b"PK") else foreign(head)
            what = f"{path} is not a checkpoint{f' but {found[0]}' if found else ', or it is damaged'}."
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
        UserError: They do not fit; the first few names of each kind of misfit are given.
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
    misfits = [f"{len(names)} {kind} ({first_few(names)})" for kind, names in kinds.items() if names]
    if misfits:
        raise UserError(
            f"{path} is not a checkpoint of {architecture}: {'; '.join(misfits)}.",
            "Choose the `model` and the options that the checkpoint was trained with, or another checkpoint.",
        )
    module.load_state_dict(tensors)
