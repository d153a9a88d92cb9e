"""OpenCLIP models as image-text spaces: any architecture and tag, a checkpoint file, a local or a hub folder."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten

import open_clip
import PIL
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from pipeline.decode.text import decode_text
from pipeline.errors import UserError, choice
from pipeline.modalities import IMAGE, TEXT
from pipeline.precision import dtype_of
from pipeline.spaces import background as backgrounds
from pipeline.spaces.open_clip.activation import OPTION as QUICK_GELU
from pipeline.spaces.open_clip.activation import check_activation
from pipeline.spaces.open_clip.files import OpenClipFiles, build_model
from pipeline.spaces.open_clip.jpeg_decoder import JpegDecoder
from pipeline.spaces.open_clip.resize import OPTION as RESIZE
from pipeline.spaces.open_clip.resize import WAYS, Resizer
from pipeline.spaces.open_clip.text import TrimmedText
from pipeline.spaces.open_clip.tokenizer import tokenizer_sha256
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows

CODE_VERSION = 2  # raise it when the same bytes and weights give other embeddings
# How JPEGs are decoded: ``whole``, as in the library, or ``reduced``: at half, a quarter or an eighth of the width and
# height, as long as these are at least twice what the model takes; or ``device``: whole, on the device of the model.
JPEG, JPEG_WAYS = "jpeg", ("whole", "reduced", "device")
CHOICES = {JPEG: JPEG_WAYS, RESIZE: WAYS}  # of each option; the first is the library's way
OPTIONS = (QUICK_GELU, backgrounds.OPTION, *CHOICES)


class OpenClipSpace:
    """An OpenCLIP model behind the protocol of frozen spaces."""

    modalities = (TEXT, IMAGE)
    preparation = (backgrounds.OPTION, *CHOICES)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[[str], Tensor],
        precision: str,
        device: str,
        sha256: Mapping[str, str],
        background: backgrounds.Colour | None = None,
        jpeg: str = "whole",
        resize: str = "pillow",
    ) -> None:
        self.background, self.jpeg = background, jpeg
        self.precision, self.device, self.sha256 = precision, device, dict(sha256)
        self.dtype = dtype_of(precision)
        self.model = model.to(device, self.dtype).eval()
        self.tokenizer, self.tokenizer_sha256 = tokenizer, tokenizer_sha256(tokenizer)
        self.embed_text: Callable[[Tensor], Tensor] = TrimmedText.of(model) or self._whole_text
        self.config = PreprocessCfg(**model.visual.preprocess_cfg)  # type: ignore[union-attr, arg-type]
        self.resizer = Resizer(self.config, resize)
        self.mean, self.std = (
            torch.tensor(values, device=device)[:, None, None] for values in (self.config.mean, self.config.std)
        )
        width, height = self.resizer.size
        self.at_least = (2 * width, 2 * height) if jpeg == "reduced" else None
        # What decodes JPEGs together, for whoever has many; and alone, in a process that has no GPU.
        self.on_device = {IMAGE: JpegDecoder(self.config, device)} if jpeg == "device" else {}
        self.jpeg_decoder = JpegDecoder(self.config, "cpu") if jpeg == "device" else None
        self.dimension = self._measure_dimension()

    @classmethod
    def load(cls, spec: SpaceSpec, device: str) -> "OpenClipSpace":
        """Load `spec.checkpoint`: a folder with a configuration, a file of weights for the architecture
        `spec.model`, ``hf-hub:owner/name``, or a pretrained tag of `spec.model`.

        Raises:
            UserError: A setting is wrong, the weights are missing, damaged or do not have the expected hash.
        """
        dtype_of(spec.precision)
        if unknown := sorted(set(spec.options) - set(OPTIONS)):
            raise UserError(f"OpenCLIP has no option {unknown[0]!r}.", choice(unknown[0], OPTIONS))
        background = backgrounds.background_of(spec.options)
        chosen = {name: spec.options.get(name, choices[0]) for name, choices in CHOICES.items()}
        for name, choices in CHOICES.items():
            if chosen[name] not in choices:
                raise UserError(f"The option {name} is {chosen[name]!r}.", f"Choose one of: {', '.join(choices)}.")
        files = OpenClipFiles.of(spec)
        sha256 = files.hashes()
        _check_hash(spec, sha256)
        check_activation(spec, files.name, sha256.get("weights", ""))
        try:
            model = build_model(files, {name: value for name, value in spec.options.items() if name == QUICK_GELU})
            tokenizer = open_clip.get_tokenizer(files.name)
        except UserError:
            raise
        except Exception as error:  # OpenCLIP raises what its hub, its file formats and torch raise
            raise UserError(
                f"OpenCLIP cannot load {spec.checkpoint!r}{f' as {spec.model}' if spec.model else ''}: "
                + shorten(str(error), 300, placeholder=" ..."),
                "Check model and checkpoint in params.yaml; without a network give a file or folder.",
            ) from error
        if not sha256:  # a tag or hub name says where the weights came from, not which they are: hash what was loaded
            sha256 = {"weights": _tensors_hash(model)}
            _check_hash(spec, sha256)
        return cls(model, tokenizer, spec.precision, device, sha256, background, str(chosen[JPEG]), str(chosen[RESIZE]))

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """The files that the space is loaded from; none for a tag or a hub name."""
        return OpenClipFiles.of(spec).paths()

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        packages = {"torch": torch.__version__, "open_clip_torch": open_clip.__version__}
        if modality == IMAGE:
            packages |= {"torchvision": version("torchvision"), "pillow": PIL.__version__}
            # Lists, as in the JSON that a stored fingerprint is compared with.
            preprocessing: object = {
                name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.config).items()
            } | {**backgrounds.recorded(self.background), **self._other_ways()}
        else:
            names = ("context_length", "vocab_size")
            preprocessing = {"tokenizer": type(self.tokenizer).__name__, "truncate": "end"} | {
                name: getattr(self.tokenizer, name) for name in names if hasattr(self.tokenizer, name)
            }
            preprocessing |= {"tokenizer_sha256": self.tokenizer_sha256} if self.tokenizer_sha256 else {}
        return {
            "family": "open_clip",
            "code_version": CODE_VERSION,
            "sha256": self.sha256,
            "precision": self.precision,
            "preprocessing": preprocessing,
            "packages": packages,
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Token ids [L] of a text, or the resized picture [3, H, W] of bytes.

        Raises:
            SampleError: The bytes cannot be used.
        """
        if modality == TEXT:
            return self.tokenizer(decode_text(payload))[0]
        if self.jpeg_decoder and (picture := self.jpeg_decoder([payload])[0]) is not None:
            return picture
        return self.resizer(backgrounds.picture_on(payload, self.background, mode="", at_least=self.at_least))

    @torch.inference_mode()
    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Embed a stacked batch as unit vectors [B, D]."""
        if modality == TEXT:
            return unit_rows(self.embed_text(batch))
        pictures = (batch.to(self.device).float() / 255 - self.mean) / self.std
        return unit_rows(self.model.encode_image(pictures.to(self.dtype)))  # type: ignore[operator]

    def _whole_text(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens.to(self.device))  # type: ignore[operator]

    def _other_ways(self) -> dict[str, str]:
        """Options that are not the library's way."""
        chosen = {JPEG: self.jpeg, RESIZE: self.resizer.way}
        return {name: way for name, way in chosen.items() if way != CHOICES[name][0]}

    def _measure_dimension(self) -> int:
        ids = self.tokenizer("a")
        with torch.inference_mode():
            return int(self.model.encode_text(ids.to(self.device)).shape[1])  # type: ignore[operator]


def _tensors_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_hash(spec: SpaceSpec, sha256: Mapping[str, str]) -> None:
    if sha256 and spec.sha256 not in ("", sha256["weights"]):
        raise UserError(
            f"The weights {spec.checkpoint!r} have the SHA-256 {sha256['weights']}, params.yaml says {spec.sha256}.",
            "Get the right file, or correct the hash if the new weights are wanted.",
        )
