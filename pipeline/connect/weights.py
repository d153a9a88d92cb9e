"""Projector weights on disk: one safetensors file, tensors named ``<space>.<layer>``; nothing in it can run code."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.connect.projectors import ProjectorSpec, build_projector
from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path
from pipeline.files.reading import retried, written_by_us


def save_projectors(path: Path, projectors: Mapping[str, nn.Module]) -> None:
    """Write the weights of `projectors`, by space, to `path` atomically; equal weights give equal bytes."""
    tensors = {
        f"{space}.{name}": tensor.detach().cpu().contiguous()
        for space, projector in projectors.items()
        for name, tensor in projector.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def load_projectors(path: Path, specs: Mapping[str, ProjectorSpec]) -> dict[str, nn.Module]:
    """Build the projectors that `specs` describes, by space, with the weights in `path`, in evaluation mode.

    Raises:
        UserError: The file is missing, holds other tensors than the specs ask for, or values that are not finite.
        CorruptError: It is not a safetensors file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Run the train stage of this connection, or `dvc pull`.")
    with written_by_us(path, "Remove the folder and train again."):
        tensors = retried(lambda: load_file(path))
    projectors = {space: build_projector(spec) for space, spec in specs.items()}
    expected = {
        f"{space}.{name}": tensor
        for space, projector in projectors.items()
        for name, tensor in projector.state_dict().items()
    }
    problems = [f"{name} is missing" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"{name} is not expected" for name in sorted(tensors.keys() - expected.keys())]
    problems += [
        f"{name} is {list(tensors[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in sorted(expected.items())
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise UserError(
            f"{path} does not fit its configuration: {shown}.", "Use the config.json that was written with the weights."
        )
    if spoilt := [name for name, tensor in sorted(tensors.items()) if not tensor.isfinite().all()]:
        raise UserError(f"{path} holds NaN or infinity in {spoilt[0]}.", "Train the connection again.")
    for space, projector in projectors.items():
        projector.load_state_dict({name: tensors[f"{space}.{name}"] for name in projector.state_dict()})
        projector.eval().requires_grad_(False)
    return projectors
