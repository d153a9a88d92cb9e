"""ULIP-2: 3D, image and text in one space of 512 dimensions, all three towers from one published checkpoint."""

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import numpy as np
import timm
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor, nn

from pipeline.decode.clouds.points import decode_points
from pipeline.decode.text import decode_text
from pipeline.errors import UserError, choice
from pipeline.hashing import seed_from, sha256_bytes
from pipeline.modalities import IMAGE, POINT, TEXT
from pipeline.precision import dtype_of
from pipeline.spaces import background as backgrounds
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows
from pipeline.spaces.strips import refuse_strip
from pipeline.spaces.ulip2.clip_text import CONTEXT, ClipText
from pipeline.spaces.ulip2.clouds import FARTHEST_AMONG, NORMALISATIONS, CloudSettings, prepare_cloud
from pipeline.spaces.ulip2.pointbert import CHANNELS, FEATURES, GROUPS, NEIGHBOURS, PointBert
from pipeline.spaces.weights.checkpoints import checkpoint_files, find_checkpoint, load_strictly, read_tensors

CODE_VERSION = 2
DIMENSION = 512
IMAGE_TOWER = "vit_base_patch16_224"
IMAGE_WIDTH = 768
IMAGE_SIZE = 224
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

_FIRST_LAYER = "point_encoder.encoder.first_conv.0.weight"
_PROJECTION = "pc_projection"


class Ulip2Towers(ClipText):
    """The towers under the names of the checkpoint, where those of the text tower stand at the root as in CLIP."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.point_encoder = PointBert()
        self.pc_projection = nn.Parameter(torch.zeros(FEATURES, DIMENSION))
        self.visual = timm.create_model(IMAGE_TOWER, num_classes=0)
        self.image_projection = nn.Parameter(torch.zeros(IMAGE_WIDTH, DIMENSION))
        self.logit_scale = nn.Parameter(torch.zeros(()))  # of the training; no embedding depends on it

    def encode_points(self, xyz: Tensor) -> Tensor:
        """Vectors [B, 512] of clouds [B, N, 3], float32."""
        out: Tensor = self.point_encoder(xyz) @ self.pc_projection
        return out

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Vectors [B, 512] of pictures [B, 3, 224, 224]."""
        out: Tensor = self.visual(pixels) @ self.image_projection
        return out


class Ulip2Space:
    """The frozen space of ULIP or ULIP-2 with a PointBERT on xyz coordinates.

    Options of the spec: ``points``, ``sampling`` and ``normalisation`` of `CloudSettings`, and ``background``.
    """

    modalities = (POINT, IMAGE, TEXT)
    dimension = DIMENSION
    preparation = (*(field.name for field in fields(CloudSettings)), backgrounds.OPTION)

    def __init__(self, towers: Ulip2Towers, spec: SpaceSpec, sha256: str, device: str) -> None:
        self.clouds = _cloud_settings(spec)
        self.background = backgrounds.background_of(spec.options)
        self.precision = spec.precision
        self.sha256 = sha256
        self.device = torch.device(device)
        self.dtype = dtype_of(spec.precision)
        self.towers = towers.to(self.device, self.dtype).eval().requires_grad_(False)
        self._tokenize = SimpleTokenizer(context_length=CONTEXT)

    @classmethod
    def load(cls, spec: SpaceSpec, device: str) -> "Ulip2Space":
        """Load the checkpoint of `spec` onto `device`.

        Raises:
            UserError: An option is wrong, or the checkpoint is missing, damaged, or of another release.
        """
        _cloud_settings(spec)  # a wrong option is said before a large file is read
        backgrounds.background_of(spec.options)
        dtype_of(spec.precision)
        if spec.model not in ("", "pointbert"):
            raise UserError(f"ulip2 has no model {spec.model!r}.", "Leave `model` out: its point tower is PointBERT.")
        checkpoint = find_checkpoint(spec.checkpoint, spec.sha256)
        tensors = read_tensors(checkpoint)
        _refuse_other_releases(tensors, checkpoint.path)
        with torch.device("meta"):  # no random weights are drawn: strict loading fills every tensor
            towers = Ulip2Towers()
        towers = towers.to_empty(device="cpu")
        load_strictly(towers, tensors, checkpoint.path, "ULIP-2 (PointBERT, ViT-B/16, 12-layer text tower)")
        return cls(towers, spec, checkpoint.sha256, device)

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """The checkpoint: tokenizer and settings are part of the family."""
        return checkpoint_files(spec.checkpoint)

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        preprocessing, packages = {
            POINT: (self._cloud_preprocessing(), ("numpy",)),
            IMAGE: (_IMAGE_PREPROCESSING | backgrounds.recorded(self.background), ("timm", "pillow")),
            TEXT: (_TEXT_PREPROCESSING, ("open_clip_torch",)),
        }[modality]
        return {
            "family": "ulip2",
            "code_version": CODE_VERSION,
            "sha256": self.sha256,
            "precision": self.precision,
            "preprocessing": preprocessing,
            "normalised": "l2",
            "packages": {name: version(name) for name in ("torch", *packages)},
        }

    def _cloud_preprocessing(self) -> dict[str, object]:
        return {
            "channels": "xyz",
            "points": self.clouds.points,
            "fewer_points": "all, repeated whole, rest drawn by content hash",
            "sampling": self.clouds.sampling,
            "farthest_among": FARTHEST_AMONG,
            "normalisation": f"{self.clouds.normalisation}: {NORMALISATIONS[self.clouds.normalisation]}",
            "groups": f"{GROUPS} centres by farthest-point sampling from point 0, {NEIGHBOURS} nearest neighbours",
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Cloud [P, 3], picture [3, 224, 224] or tokens [77] of the bytes of one file.

        Raises:
            SampleError: The bytes cannot be used.
        """
        if modality == POINT:
            seed = seed_from("cloud", sha256_bytes(payload))
            return torch.from_numpy(prepare_cloud(decode_points(payload), self.clouds, seed))
        if modality == IMAGE:
            return prepare_image(backgrounds.picture_on(payload, self.background))
        tokens: Tensor = self._tokenize([decode_text(payload)])[0]
        return tokens

    @torch.inference_mode()
    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Unit vectors [B, 512] of a stacked batch, float32 on the CPU."""
        batch = batch.to(self.device)
        if modality == POINT:
            return unit_rows(self.towers.encode_points(batch))
        if modality == IMAGE:
            return unit_rows(self.towers.encode_image(batch.to(self.dtype)))
        return unit_rows(self.towers.encode_text(batch))


_IMAGE_PREPROCESSING: dict[str, object] = {
    "resize": f"shorter side {IMAGE_SIZE}, bilinear",
    "crop": f"centre {IMAGE_SIZE}",
    "mean": list(IMAGE_MEAN),
    "std": list(IMAGE_STD),
}
_TEXT_PREPROCESSING: dict[str, object] = {
    "tokenizer": "CLIP byte pairs, lower case",
    "context": CONTEXT,
    "longer": "cut",
}


def prepare_image(image: Image.Image) -> Tensor:
    """The picture as the image tower takes it, [3, 224, 224]: resized, cut to its middle, normalised.

    Raises:
        SampleError: The picture is a strip.
    """
    refuse_strip(image)
    width, height = image.size
    shorter = min(width, height)
    width, height = width * IMAGE_SIZE // shorter, height * IMAGE_SIZE // shorter
    left, top = round((width - IMAGE_SIZE) / 2), round((height - IMAGE_SIZE) / 2)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(IMAGE_MEAN).view(3, 1, 1)) / torch.tensor(IMAGE_STD).view(3, 1, 1)


def _cloud_settings(spec: SpaceSpec) -> CloudSettings:
    known = Ulip2Space.preparation
    unknown = [name for name in spec.options if name not in known]
    if unknown:
        raise UserError(f"ulip2 has no option {unknown[0]!r}.", choice(unknown[0], known))
    given: dict[str, str | int | float | bool] = {"points": CloudSettings.points, **spec.options}
    given.pop(backgrounds.OPTION, None)
    points = given.pop("points")
    if not isinstance(points, int) or points < GROUPS:
        raise UserError(
            f"The option points is {points!r}.", f"Give a whole number from {GROUPS} on: PointBERT's groups."
        )
    return CloudSettings(points, **{name: str(value) for name, value in given.items()})


def _refuse_other_releases(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Name the release when it is a known relative; anything else that is wrong is said by strict loading."""
    findings = []
    if _FIRST_LAYER not in tensors:
        findings.append("its point tower is not a PointBERT")
    elif (channels := tensors[_FIRST_LAYER].shape[1]) != CHANNELS:
        colour = ": coordinates and colours" if channels == 2 * CHANNELS else ""
        findings.append(f"its clouds have {channels} channels{colour}")
    if _PROJECTION in tensors and (width := tensors[_PROJECTION].shape[-1]) != DIMENSION:
        partner = ": it is aligned with OpenCLIP ViT-bigG/14" if width == 1280 else ""
        findings.append(f"its vectors have {width} dimensions{partner}")
    if findings:
        raise UserError(
            f"{path} is a release of ULIP that is not supported: {'; '.join(findings)}.",
            f"Expected is PointBERT on {CHANNELS} channels (xyz) with vectors of {DIMENSION} dimensions, as in "
            "pointbert_ULIP-2.pt of 2023.",
        )
