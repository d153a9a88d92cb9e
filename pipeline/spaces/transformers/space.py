"""Models of the transformers library as spaces: CLIP, SigLIP, CLAP, and what else embeds by ``get_..._features``."""

import io
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import UserError
from pipeline.modalities import AUDIO, IMAGE, TEXT
from pipeline.precision import dtype_of
from pipeline.spaces import background as backgrounds
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows
from pipeline.spaces.transformers.files import CONFIG, PREPROCESSING, TOKENIZER, TransformersFolder
from pipeline.spaces.transformers.inputs import Pictures, Sounds, Texts
from pipeline.spaces.transformers.model import arguments_of, load_model, pooled, positions_of
from pipeline.spaces.weights.hub import HUB

CODE_VERSION = 1  # raise it when the same bytes and weights give other embeddings
CROPS = ("center", "start")
OPTIONS = {"crop": CROPS}
_PACKAGES = {TEXT: ("tokenizers",), IMAGE: ("pillow",), AUDIO: ("soundfile", "soxr", "numpy")}


class TransformersSpace:
    """A frozen model of transformers behind the protocol, with the tokenizer and the processors of its folder.

    Options:
        background: See `background`: a colour for transparent pixels.
        crop: ``center`` or ``start``: what CLAP without fusion hears of a clip longer than its window.
    """

    preparation = (*OPTIONS, backgrounds.OPTION)

    def __init__(self, model: Any, folder: TransformersFolder, spec: SpaceSpec, device: str) -> None:
        self.device, self.dtype = device, dtype_of(spec.precision)
        self.model = model.to(device, self.dtype).eval().requires_grad_(False)
        self.features: dict[str, Callable[..., object]] = {
            modality: getattr(model, f"get_{modality}_features")
            for modality in (TEXT, IMAGE, AUDIO)
            if hasattr(model, f"get_{modality}_features")
        }
        self.modalities = tuple(self.features)
        self.background = backgrounds.background_of(spec.options)
        crop = str(spec.options.get("crop", CROPS[0]))
        words = int(getattr(model.config, "text_config", model.config).vocab_size)
        self.texts = Texts(folder.folder, arguments_of(self.features[TEXT]), positions_of(model), words)
        self.pictures = Pictures(folder.folder, self.background) if IMAGE in self.features else None
        self.sounds = Sounds(folder.folder, crop) if AUDIO in self.features else None
        self.common: Fingerprint = {
            "family": "transformers",
            "code_version": CODE_VERSION,
            "model": type(model).__name__,
            "sha256": {"weights": folder.weights_sha256(spec.sha256), "config": folder.sha256((CONFIG,))},
            "precision": spec.precision,
        }
        self.files_sha256 = {TEXT: folder.sha256(TOKENIZER)} | dict.fromkeys(
            (IMAGE, AUDIO), folder.sha256(PREPROCESSING)
        )
        self.dimension = self._measure_dimension()

    @classmethod
    def load(cls, spec: SpaceSpec, device: str = "cpu") -> "TransformersSpace":
        """Load the folder `spec.checkpoint`, or ``hf-hub:owner/name@commit``; `spec.model` may name another class than
        the folder does.

        Raises:
            UserError: A setting is wrong, a file is missing or damaged, the weights are not safetensors, do not fill the
                model or do not have the expected hash, or the model embeds nothing.
        """
        dtype_of(spec.precision)
        for name, value in spec.options.items():
            if name != backgrounds.OPTION and value not in OPTIONS.get(name, ()):
                known = "; ".join(f"{option}: {' or '.join(choices)}" for option, choices in OPTIONS.items())
                raise UserError(
                    f"A transformers space has no option {name}: {value!r}.",
                    f"Choose {known}; {backgrounds.OPTION}: a colour.",
                )
        backgrounds.background_of(spec.options)
        folder = TransformersFolder.of(spec.checkpoint)
        folder.weights_sha256(spec.sha256)
        return cls(load_model(folder, spec.model), folder, spec, device)

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """All files of the folder that are read; none for a hub name, whose commit says which they are."""
        return [] if spec.checkpoint.startswith(HUB) else TransformersFolder.of(spec.checkpoint).paths()

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        preprocessing: dict[str, object] = {"files_sha256": self.files_sha256[modality]}
        if modality == TEXT:
            preprocessing |= {"tokenizer": type(self.texts.tokenizer).__name__, "length": self.texts.length}
        elif self.pictures and modality == IMAGE:
            preprocessing |= {"processor": type(self.pictures.processor).__name__.removesuffix("Pil")}
            preprocessing |= backgrounds.recorded(self.background)
        elif self.sounds:
            drawn = "chunks drawn by content" if self.sounds.fusion else self.sounds.crop
            preprocessing |= {
                "extractor": type(self.sounds.extractor).__name__,
                "longer": drawn,
                "resampler": "soxr HQ",
            }
        packages = ("torch", "transformers", *_PACKAGES[modality])
        return {
            **self.common,
            "preprocessing": preprocessing,
            "packages": {name: version(name) for name in packages},
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Tokens [K, L] of a text, pixels [3, H, W] of a picture, or spectrograms and a flag of a sound, flat.

        Raises:
            SampleError: The bytes cannot be used.
        """
        prepare = {TEXT: self.texts, IMAGE: self.pictures, AUDIO: self.sounds}[modality]
        assert prepare is not None, modality
        return prepare(payload)

    @torch.inference_mode()
    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Embed a stacked batch [B, ...] as unit vectors [B, D]."""
        batch = batch.to(self.device)
        if modality == TEXT:
            arguments = self.texts.arguments(batch)
        else:
            prepared = self.pictures if modality == IMAGE else self.sounds
            assert prepared is not None, modality
            arguments = prepared.arguments(batch, self.dtype)
        return unit_rows(pooled(self.features[modality](**arguments)))

    def _measure_dimension(self) -> int:
        """Width of the embeddings of every modality, found by embedding something small.

        Raises:
            UserError: It is not the same for all, or the model takes more than a text, a picture or a sound.
        """
        widths: dict[str, object] = {}
        for modality in self.modalities:
            try:
                rows = self.encode(modality, self.preprocess(modality, _probe(modality))[None])
                widths[modality] = rows.shape[1] if rows.ndim == 2 else f"{rows.ndim - 1} axes"
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
                widths[modality] = f"nothing ({shorten(str(error), 80, placeholder=' ...')})"
        found = set(widths.values())
        if len(found) > 1 or not isinstance(width := found.pop(), int):
            said = ", ".join(f"{width} of {modality}" for modality, width in widths.items())
            raise UserError(
                f"{self.common['model']} gives no embeddings of one width: {said}.",
                "Choose a model that was trained with a contrastive loss, such as CLIPModel.",
            )
        return width


def _probe(modality: str) -> bytes:
    """A file of `modality`, as small as it can be."""
    if modality == TEXT:
        return b"a"
    buffer = io.BytesIO()
    if modality == IMAGE:
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
    else:
        soundfile.write(buffer, np.zeros(4800), 48_000, format="WAV")
    return buffer.getvalue()
