"""What the models of transformers are given: tokens, pixels and spectrograms, by the processors of their own folder."""

import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers.utils import logging

from pipeline.decode.audio import MAX_FRAMES, decode_audio
from pipeline.decode.text import decode_text
from pipeline.errors import SampleError, UserError
from pipeline.hashing import seed_from, sha256_bytes
from pipeline.spaces.background import Colour, picture_on
from pipeline.spaces.strips import refuse_strip

LONGEST_TEXT = 512
OFFLINE = {"local_files_only": True, "trust_remote_code": False}
_GLOBAL_GENERATOR = threading.Lock()


class Texts:
    """Token ids of a text, and what else the model takes of them, stacked [K, L] and padded to its longest."""

    def __init__(self, folder: Path, takes: Sequence[str], positions: int, vocabulary: int) -> None:
        self.tokenizer = _loaded("tokenizer", folder, transformers.AutoTokenizer)
        longest = min(self.tokenizer.model_max_length, positions, LONGEST_TEXT)
        self.length = int(longest)
        self.names = [name for name in self._tokens("a") if name in takes]
        probes = [self._tokens(text)["input_ids"] for text in ("a", "dog")]
        if probes[0] == probes[1] or max(map(max, probes)) >= vocabulary:
            raise UserError(
                f"The tokenizer in {folder} is not the model's: its files are missing or damaged, or another model's.",
                "Put tokenizer.json (or the vocabulary) of the same repository beside the weights.",
            )

    def _tokens(self, text: str) -> dict[str, list[int]]:
        return dict(self.tokenizer(text, padding="max_length", truncation=True, max_length=self.length))

    def __call__(self, payload: bytes) -> Tensor:
        """Tokens of the bytes of one file."""
        tokens = self._tokens(decode_text(payload))
        return torch.tensor([tokens[name] for name in self.names])

    def arguments(self, batch: Tensor) -> dict[str, Tensor]:
        """What the model is called with for a stacked batch [B, K, L]: columns that are padding in all rows are cut."""
        if "attention_mask" in self.names and self.tokenizer.padding_side == "right":
            batch = batch[:, :, : int(batch[:, self.names.index("attention_mask")].sum(1).max())]
        return {name: batch[:, number] for number, name in enumerate(self.names)}


class Pictures:
    """Pixels of a picture, [3, H, W], by the image processor of the folder as Pillow computes it."""

    def __init__(self, folder: Path, background: Colour | None = None) -> None:
        self.background = background
        # Both versions of the library can also resize by torchvision, with other numbers.
        slow = {"use_fast": False} if transformers.__version__.startswith("4.") else {"backend": "pil"}
        self.processor = _loaded("image processor", folder, transformers.AutoImageProcessor, **slow)
        if list(self.processor.model_input_names) != ["pixel_values"]:
            raise UserError(
                f"The image processor in {folder} gives {', '.join(self.processor.model_input_names)}.",
                "Only models that take pixel_values alone are supported, such as CLIP and SigLIP.",
            )

    def __call__(self, payload: bytes) -> Tensor:
        """Pixels of the bytes of one file."""
        image = picture_on(payload, self.background)
        refuse_strip(image)
        try:
            pixels: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        except (ValueError, OSError) as error:
            raise SampleError("preprocess", f"picture of {image.size}: {error}") from error
        return pixels

    def arguments(self, batch: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """What the model is called with for a stacked batch [B, 3, H, W]."""
        return {"pixel_values": batch.to(dtype)}


class Sounds:
    """What CLAP hears of a sound: its spectrograms and whether it is longer than its window, flat.

    The library draws at random what it hears of a longer clip. Here a model without fusion hears its middle or its
    beginning, and the chunks that a fusion model hears are drawn by the content of the file.
    """

    def __init__(self, folder: Path, crop: str) -> None:
        self.extractor = _loaded("feature extractor", folder, transformers.AutoFeatureExtractor)
        if not hasattr(self.extractor, "nb_max_samples") or "input_features" not in self.extractor.model_input_names:
            raise UserError(
                f"The feature extractor in {folder} is not CLAP's.", "Only ClapModel is supported for sounds."
            )
        self.crop, self.rate = crop, int(self.extractor.sampling_rate)
        self.window, self.hop = int(self.extractor.nb_max_samples), int(self.extractor.hop_length)
        self.fusion = self.extractor.truncation == "fusion"
        self.shape = self._features(np.zeros(self.window, np.float32), 0).shape

    def __call__(self, payload: bytes) -> Tensor:
        """Spectrograms of the bytes of one file, followed by 1 if it is longer than the window, else 0."""
        sound = decode_audio(payload)
        wave = sound.wave
        if sound.rate != self.rate:
            frames = math.ceil(len(wave) * self.rate / sound.rate)
            if frames > MAX_FRAMES:
                raise SampleError(
                    "preprocess", f"audio of {frames} frames at {self.rate} Hz, the limit is {MAX_FRAMES}"
                )
            import soxr

            wave = soxr.resample(wave, sound.rate, self.rate, quality="HQ")
        if not len(wave):
            raise SampleError("preprocess", "audio without a single frame after resampling")
        # Less than one hop beyond the window makes no further frame: such a clip is not "longer".
        longer = self.fusion and len(wave) // self.hop > self.window // self.hop
        if not self.fusion and len(wave) > self.window:
            first = (len(wave) - self.window) // 2 if self.crop == "center" else 0
            wave = wave[first : first + self.window]
        features = self._features(wave, seed_from("chunks", sha256_bytes(payload)) if longer else 0)
        return torch.cat([features.flatten(), torch.tensor([float(longer)])])

    def _features(self, wave: np.ndarray, seed: int) -> Tensor:
        def features() -> Tensor:
            made = self.extractor(wave, sampling_rate=self.rate, return_tensors="pt")
            return torch.as_tensor(made["input_features"][0], dtype=torch.float32)

        if not seed:
            return features()
        with _GLOBAL_GENERATOR:  # the library draws from NumPy's
            before = np.random.get_state()
            np.random.seed(seed % 2**32)
            try:
                return features()
            finally:
                np.random.set_state(before)

    def arguments(self, batch: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """What the model is called with for a stacked batch of what `__call__` gives."""
        features = batch[:, :-1].reshape(len(batch), *self.shape)
        return {"input_features": features.to(dtype), "is_longer": batch[:, -1:] > 0.5}


def _loaded(what: str, folder: Path, auto: Any, **options: object) -> Any:
    try:
        with quiet():
            return auto.from_pretrained(str(folder), **OFFLINE, **options)
    except ImportError as error:
        raise UserError(f"The {what} in {folder} needs another package: {error}", "Install it.") from error
    except Exception as error:  # each of the library's classes raises what its parser raises
        raise UserError(
            f"There is no usable {what} in {folder}: {shorten(str(error) or type(error).__name__, 200, placeholder=' ...')}",
            "Complete the folder with all files of the same repository; `mcr fetch` gets them.",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """The library without its advice and its progress bars, which nobody asked for."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
