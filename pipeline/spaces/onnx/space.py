"""Encoders that exist as ONNX graphs: a folder of graphs and `onnx.json`, which says how their inputs are made."""

from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json
from pipeline.precision import dtype_of
from pipeline.spaces import background as backgrounds
from pipeline.spaces.onnx.description import DESCRIPTION, AnyTower, PictureTower, TextTower, towers_in
from pipeline.spaces.onnx.graph import LIBRARY_VERSION, Graph, graph_files
from pipeline.spaces.onnx.inputs import preparation
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows

CODE_VERSION = 1  # raise it when the same bytes and weights give other embeddings


class OnnxSpace:
    """Graphs behind the protocol of frozen spaces; they compute in the types that they were exported with.

    Options:
        background: See `background`: a colour for transparent pixels.
    """

    preparation = (backgrounds.OPTION,)

    def __init__(self, folder: Path, towers: dict[str, AnyTower], spec: SpaceSpec, device: str) -> None:
        self.modalities = tuple(towers)
        self.towers, self.device = towers, device
        self.background = backgrounds.background_of(spec.options)
        self.graphs = {modality: Graph(tower, folder, device) for modality, tower in towers.items()}
        self.tokenizers = {
            name: sha256_file(folder / tower.tokenizer)
            for name, tower in towers.items()
            if isinstance(tower, TextTower)
        }
        found = sha256_json({name: graph.sha256 for name, graph in self.graphs.items()})
        if spec.sha256 not in ("", found):
            raise UserError(
                f"The graphs in {folder} have the SHA-256 {found}, params.yaml expects {spec.sha256}.",
                "Get the right files, or correct the hash if the new weights are wanted.",
            )
        self.prepare = {name: preparation(tower, folder, self.background) for name, tower in towers.items()}
        self.dimension = self._dimension(folder)

    @classmethod
    def load(cls, spec: SpaceSpec, device: str = "cpu") -> "OnnxSpace":
        """Load the folder `spec.checkpoint`.

        Raises:
            UserError: A setting or the description is wrong, or a file is missing, damaged or another than was expected.
        """
        dtype_of(spec.precision)
        if spec.precision != "fp32":
            raise UserError(
                f"An ONNX space computes in the types of its graphs, not in {spec.precision}.",
                "Export the graphs in that type, and leave `precision` out.",
            )
        if unknown := set(spec.options) - {backgrounds.OPTION}:
            raise UserError(f"An ONNX space has no option {min(unknown)!r}.", "Remove it from params.yaml.")
        folder = Path(spec.checkpoint)
        return cls(folder, towers_in(folder), spec, device)

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """The description, the graphs with what they take their numbers from, and the tokenizers."""
        folder = Path(spec.checkpoint)
        towers = towers_in(folder).values()
        files = {folder / DESCRIPTION, *(file for tower in towers for file in graph_files(folder / tower.model))}
        return sorted(files | {folder / tower.tokenizer for tower in towers if isinstance(tower, TextTower)})

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        tower = self.towers[modality]
        preprocessing: dict[str, object] = tower.model_dump(mode="json", exclude={"model"})
        packages = ["soxr", "soundfile"]
        if isinstance(tower, TextTower):
            preprocessing["tokenizer_sha256"] = self.tokenizers[modality]
            packages = ["tokenizers"]
        elif isinstance(tower, PictureTower):
            preprocessing |= backgrounds.recorded(self.background)
            packages = ["pillow"]
        return {
            "family": "onnx",
            "code_version": CODE_VERSION,
            "sha256": self.graphs[modality].sha256,
            "precision": "fp32",
            "preprocessing": preprocessing,
            "packages": {"onnxruntime": LIBRARY_VERSION} | {name: version(name) for name in packages},
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Ids and mask [2, L] of a text, pixels [3, H, W] of a picture, or samples [T] of a sound.

        Raises:
            SampleError: The bytes cannot be used.
        """
        return self.prepare[modality](payload)

    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Embed a stacked batch [B, ...] as unit vectors [B, D]."""
        tower, graph = self.towers[modality], self.graphs[modality]
        if not isinstance(tower, TextTower):
            return unit_rows(graph({graph.input: batch.numpy()}))
        masks = {tower.mask: batch[:, 1].numpy()} if tower.mask else {}
        return unit_rows(graph({graph.input: batch[:, 0].numpy(), **masks}))

    def _dimension(self, folder: Path) -> int:
        """Width of all embeddings, found by embedding a batch of two.

        Raises:
            UserError: It is not the same for all, or a graph gives something else than [B, D].
        """
        widths: dict[str, object] = {}
        for modality, tower in self.towers.items():
            rows = self.encode(modality, _two_files(tower))
            widths[modality] = rows.shape[1] if rows.ndim == 2 and len(rows) == 2 else f"{list(rows.shape)}"
        found = set(widths.values())
        if len(found) > 1 or not isinstance(width := found.pop(), int):
            said = ", ".join(f"{width} for {modality}" for modality, width in widths.items())
            raise UserError(
                f"The graphs in {folder} give no embeddings [B, D] of one width: {said} (B = 2).",
                f"Name the output that is the embedding in {DESCRIPTION}, and export with a free batch size.",
            )
        return width


def _two_files(tower: AnyTower) -> Tensor:
    """What two prepared files could look like, stacked."""
    if isinstance(tower, TextTower):
        return torch.ones(2, 2, tower.length, dtype=torch.int64)
    if isinstance(tower, PictureTower):
        return torch.zeros(2, 3, tower.size, tower.size)
    return torch.zeros(2, round(tower.rate * tower.seconds))
