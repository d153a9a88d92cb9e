"""A graph that onnxruntime runs: checked, and hashed with the files that it takes its numbers from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json
from pipeline.spaces.onnx.description import Tower
from pipeline.spaces.weights.checkpoint_files import refuse_pointer

try:
    import onnx
    import onnxruntime
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data
except ImportError as missing:
    raise UserError(
        "The encoder onnx needs the packages onnx and onnxruntime.", 'Run: pip install "mcr-connect[onnx]".'
    ) from missing

LIBRARY_VERSION: str = onnxruntime.__version__  # of onnxruntime-gpu, too, which is another distribution
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


def graph_files(path: Path) -> list[Path]:
    """The file of a graph, and those beside it that hold its larger tensors.

    Raises:
        UserError: One is missing, damaged, a pointer of git-lfs, or lies outside the folder.
    """
    if not path.is_file():
        raise UserError(f"There is no graph {path}.", "Put it there, or name the right file in onnx.json.")
    refuse_pointer(path)
    try:
        model = onnx.load(path, load_external_data=False)
        beside = {ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)}
        if outside := next((name for name in beside if Path(name).name != name), None):
            raise UserError(f"{path} takes numbers from {outside!r}, outside its folder.", "Export it again.")
        for name in beside:
            refuse_pointer(path.parent / name)
        onnx.checker.check_model(str(path))
        _refuse_not_finite(path, model)
    except UserError:
        raise
    except Exception as error:  # what protobuf, the checker and the file system raise
        raise UserError(
            f"{path} is not an ONNX graph that can be used: {str(error).strip().splitlines()[0][:200]}",
            "Fetch it again, with all its files.",
        ) from error
    return [path, *(path.parent / name for name in sorted(beside))]


def _refuse_not_finite(path: Path, model: Any) -> None:
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor, str(path.parent))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"The weights {path} are not all finite: {tensor.name} holds NaN or infinity.",
                "Fetch them again.",
            )


class Graph:
    """One graph in onnxruntime.

    Attributes:
        sha256: Of the file; of several, of their names and hashes.
    """

    def __init__(self, tower: Tower, folder: Path, device: str) -> None:
        self.path = folder / tower.model
        hashes = {file.name: sha256_file(file) for file in graph_files(self.path)}
        self.sha256 = sha256_json(hashes) if len(hashes) > 1 else hashes[tower.model]
        provider = PROVIDERS.get(torch.device(device).type, "")
        if provider not in onnxruntime.get_available_providers():
            raise UserError(
                f"This onnxruntime cannot use the device {device}.",
                "Install onnxruntime-gpu in its place, or set `device: cpu`.",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        try:
            self.session = onnxruntime.InferenceSession(str(self.path), options, providers=[provider])
        except Exception as error:  # onnxruntime has one class for each of its reasons
            raise UserError(f"onnxruntime cannot load {self.path}: {str(error)[:200]}", "Export it again.") from error
        self.types = {one.name: _TYPES.get(one.type) for one in self.session.get_inputs()}
        self.input = self._named("input", tower.input, list(self.types))
        self.output = self._named("output", tower.output, [one.name for one in self.session.get_outputs()])

    def _named(self, what: str, name: str, known: list[str]) -> str:
        found = name or (known[0] if len(known) == 1 else "")
        if found not in known:
            raise UserError(
                f"{self.path} has no {what} {name!r}." if name else f"{self.path} has several {what}s.",
                f"Write in onnx.json which is meant with `{what}`: {', '.join(known)}.",
            )
        return found

    def __call__(self, arguments: dict[str, NDArray[Any]]) -> torch.Tensor:
        """The embeddings [B, D] of a batch: inputs by name, brought to the types that the graph asks for.

        Raises:
            UserError: The graph takes something else.
        """
        if unknown := set(self.types) ^ set(arguments):
            raise UserError(
                f"{self.path} takes {', '.join(self.types)}, but gets {', '.join(arguments)}.",
                f"Correct `input` or `mask` in onnx.json ({', '.join(sorted(unknown))}), or export the graph without it.",
            )
        feed = {name: np.ascontiguousarray(values, self.types[name]) for name, values in arguments.items()}
        try:
            found = self.session.run([self.output], feed)[0]
        except Exception as error:  # as above
            raise UserError(
                f"{self.path} cannot embed a batch: {str(error)[:200]}", "Compare its inputs with onnx.json."
            ) from error
        return torch.from_numpy(np.asarray(found, np.float32))
