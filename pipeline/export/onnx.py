"""Projectors as ONNX graphs: what maps embeddings of a frozen space into the connected space, without this code."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.errors import McrError, UserError
from pipeline.export.stores import new_folder
from pipeline.files.atomic import atomic_path

INPUT, OUTPUT = "embeddings", "connected"
# The largest difference of a component of a unit vector: another library adds up in another order.
TOLERANCE = 1e-5
OPSET = 18


class _Way(nn.Module):
    """From rows [N, D] of one modality of a frozen space to unit rows [N, E]."""

    def __init__(self, space: ConnectedSpace, frozen: str, modality: str) -> None:
        super().__init__()
        self._arguments = space, frozen, modality

    def forward(self, rows: Tensor) -> Tensor:
        space, frozen, modality = self._arguments
        return space.connected(frozen, rows, modality)


def write_projectors(space: ConnectedSpace, folder: Path) -> list[Path]:
    """Write ``<space>-<modality>.onnx`` for every way into the connected space; a base has none, its rows stay as they are.

    Each graph takes ``embeddings`` [N, D] float32 and returns ``connected`` [N, E], for any N. It is run by ONNX Runtime
    before it gets its name, and must agree with the projector within `TOLERANCE`.

    Raises:
        UserError: The method has no projectors, or the extra ``onnx`` is not installed.
        McrError: A graph computes something else.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError("ONNX is not installed.", "pip install 'mcr-connect[onnx]'") from error
    config = space.config
    if not config.projectors:
        raise UserError(
            f"{config.connection} has no projectors: {config.method} trains nothing.", "Export its stores instead."
        )
    new_folder(folder)
    written = []
    for name, record in config.spaces.items():
        if space.keeps_rows_of(name):
            continue
        for modality in record.modalities:
            try:
                path = _write(space, name, modality, record.dimension, folder / f"{name}-{modality}.onnx", onnxruntime)
            except UserError:  # a modality that no link mentions has no way in
                continue
            onnx.checker.check_model(str(path))
            written.append(path)
    return written


def _write(space: ConnectedSpace, frozen: str, modality: str, width: int, target: Path, onnxruntime: object) -> Path:
    way = _Way(space, frozen, modality).eval()
    rows = nn.functional.normalize(torch.randn(64, width, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        expected = way(rows)
        with atomic_path(target) as path:
            with warnings.catch_warnings():
                # The exporter that needs no other package says that it is not the newest one.
                warnings.simplefilter("ignore")
                axes = {INPUT: {0: "rows"}, OUTPUT: {0: "rows"}}
                names = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_axes": axes}
                torch.onnx.export(way, (rows[:3],), str(path), dynamo=False, opset_version=OPSET, **names)  # type: ignore[arg-type]
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])  # type: ignore[attr-defined]
            [found] = session.run([OUTPUT], {INPUT: rows.numpy()})
            far = float(np.abs(found - expected.numpy()).max())
            if not far <= TOLERANCE:
                raise McrError(f"{target.name} differs from its projector by {far:.1e}.", "Report this as a bug.")
    return target
