"""Compact spaces: our own small towers in a folder of weights and settings, for the demo and for tests."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import safetensors.torch
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from pipeline.decode.audio import decode_audio
from pipeline.decode.clouds.points import decode_points
from pipeline.decode.text import decode_text
from pipeline.errors import SampleError, UserError
from pipeline.files.atomic import atomic_path, write_text
from pipeline.files.os_errors import explained
from pipeline.files.reading import read_bytes, retried
from pipeline.hashing import sha256_file
from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT
from pipeline.precision import dtype_of
from pipeline.spaces import background as backgrounds
from pipeline.spaces.compact.towers import (
    AudioSettings,
    AudioTower,
    ImageSettings,
    ImageTower,
    PointSettings,
    PointTower,
    TextSettings,
    TextTower,
)
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows

CODE_VERSION = 3  # raise it when the same bytes and weights give other embeddings
WEIGHTS, CONFIG = "weights.safetensors", "config.json"

Settings = TextSettings | ImageSettings | AudioSettings | PointSettings
_TOWERS: dict[str, tuple[Any, Any]] = {
    TEXT: (TextSettings, TextTower),
    IMAGE: (ImageSettings, ImageTower),
    AUDIO: (AudioSettings, AudioTower),
    POINT: (PointSettings, PointTower),
}
_PACKAGES = {IMAGE: {"pillow": PIL.__version__}, AUDIO: {"soundfile": soundfile.__version__}}
_WORD = re.compile(r"[^\W_]+")


class CompactModel(nn.Module):
    """The towers of a compact space, one for each modality, all of width `dimension`."""

    def __init__(self, dimension: int, settings: Mapping[str, Settings]) -> None:
        super().__init__()
        self.dimension = dimension
        self.settings = dict(settings)
        self.towers = nn.ModuleDict({name: _TOWERS[name][1](one, dimension) for name, one in settings.items()})

    def forward(self, modality: str, batch: Tensor) -> Tensor:
        """Embed what `prepare` gave, stacked [B, ...], as [B, D] of any length."""
        embeddings: Tensor = self.towers[modality](batch)
        return embeddings


def save_compact(folder: Path, model: CompactModel) -> None:
    """Write the weights and settings of `model` to `folder`."""
    config = {"dimension": model.dimension, "towers": {name: asdict(one) for name, one in model.settings.items()}}
    with atomic_path(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(model.state_dict(), temporary)
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


def load_compact(folder: Path) -> CompactModel:
    """Read the model that `save_compact` wrote.

    Raises:
        UserError: A file is missing, damaged or does not belong to the other.
    """
    try:
        config = json.loads(read_bytes(folder / CONFIG))
        towers = {name: dict(values) for name, values in config["towers"].items()}
        if TEXT in towers:
            towers[TEXT]["vocabulary"] = tuple(towers[TEXT]["vocabulary"])
        model = CompactModel(config["dimension"], {name: _TOWERS[name][0](**one) for name, one in towers.items()})
        model.load_state_dict(retried(lambda: safetensors.torch.load_file(folder / WEIGHTS)))
    except FileNotFoundError as error:
        raise _missing(folder / Path(error.filename or CONFIG).name) from None
    except (ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise explained(error, folder / WEIGHTS) or UserError(
            f"The compact space {folder} is damaged: {error}.", "Train it again, or restore it with `dvc checkout`."
        ) from error
    return model


def _missing(file: Path) -> UserError:
    return UserError(
        f"The compact space {file.parent} has no {file.name}.",
        "Run the stage that trains it, or correct its checkpoint in params.yaml.",
    )


class CompactSpace:
    """A compact model behind the protocol of frozen spaces."""

    preparation = (backgrounds.OPTION,)

    def __init__(
        self,
        model: CompactModel,
        precision: str,
        device: str,
        sha256: dict[str, str],
        background: backgrounds.Colour | None = None,
    ) -> None:
        self.background = background
        self.modalities = tuple(model.settings)
        self.dimension = model.dimension
        self.precision = precision
        self.device = device
        self.sha256 = sha256
        self.settings = model.settings
        self.model = model.to(device, dtype_of(precision)).eval()
        self.prepare = {name: preparation(name, one, background) for name, one in model.settings.items()}

    @classmethod
    def load(cls, spec: SpaceSpec, device: str) -> "CompactSpace":
        """Load the folder `spec.checkpoint`.

        Raises:
            UserError: The folder or a setting is wrong, or the weights do not have the expected hash.
        """
        folder = Path(spec.checkpoint)
        dtype_of(spec.precision)
        if unknown := set(spec.options) - {backgrounds.OPTION}:
            raise UserError(f"A compact space has no option {min(unknown)!r}.", "Remove it from params.yaml.")
        background = backgrounds.background_of(spec.options)
        model = load_compact(folder)
        sha256 = {name: sha256_file(folder / name) for name in (WEIGHTS, CONFIG)}
        if spec.sha256 not in ("", sha256[WEIGHTS]):
            raise UserError(
                f"{folder / WEIGHTS} has the SHA-256 {sha256[WEIGHTS]}, params.yaml expects {spec.sha256}.",
                "Get the right file, or correct the hash if the new weights are wanted.",
            )
        return cls(model, spec.precision, device, sha256, background)

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """The weights and the settings.

        Raises:
            UserError: One of them is missing.
        """
        files = [Path(spec.checkpoint, name) for name in (WEIGHTS, CONFIG)]
        for file in files:
            if not file.is_file():
                raise _missing(file)
        return files

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        return {
            "family": "compact",
            "code_version": CODE_VERSION,
            "sha256": self.sha256,
            "precision": self.precision,
            "preprocessing": _POLICY[modality],
            "packages": {"torch": torch.__version__, **_PACKAGES.get(modality, {})},
            **(backgrounds.recorded(self.background) if modality == IMAGE else {}),
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Decode the bytes of one file to what `encode` stacks."""
        return self.prepare[modality](payload)

    @torch.inference_mode()
    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Embed a stacked batch [B, ...] as unit vectors [B, D]."""
        return unit_rows(self.model(modality, batch.to(self.device)))


# What the functions below do, in words, for the fingerprint; the sizes are in the settings, which are hashed.
_POLICY = {
    TEXT: "lower-case words of the vocabulary, the first `length`",
    IMAGE: "RGB, fit to a centred square by bicubic resampling if the size differs",
    AUDIO: "mono, Fourier resampling if the rate differs, 16 bit, cut or zero-padded at the end",
    POINT: "evenly spaced in file order, grey where colourless",
}


def preparation(
    modality: str, settings: Settings, background: backgrounds.Colour | None = None
) -> Callable[[bytes], Tensor]:
    """The function from the bytes of one file to the tensor that a tower takes."""
    if isinstance(settings, TextSettings):
        ids = {word: index for index, word in enumerate(settings.vocabulary, start=1)}
        return lambda payload: word_ids(decode_text(payload), ids, settings.length)
    if isinstance(settings, ImageSettings):
        return lambda payload: _picture(backgrounds.picture_on(payload, background), settings.side)
    if isinstance(settings, AudioSettings):
        return lambda payload: _wave(payload, settings)
    return lambda payload: _cloud(decode_points(payload), settings.points)


def words_of(text: str) -> list[str]:
    """The lower-case words of `text`."""
    return _WORD.findall(text.lower())


def word_ids(text: str, ids: Mapping[str, int], length: int) -> Tensor:
    """Ids of the known words of `text`, padded with 0 to [length]; an unknown plural counts as its singular."""
    singular = (word if word in ids else word.removesuffix("s") for word in words_of(text))
    known = [ids[word] for word in singular if word in ids][:length]
    return torch.tensor(known + [0] * (length - len(known)))


def _picture(image: Image.Image, side: int) -> Tensor:
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _wave(payload: bytes, settings: AudioSettings) -> Tensor:
    sound = decode_audio(payload)
    wave = sound.wave if sound.rate == settings.rate else resample(sound.wave, sound.rate, settings.rate)
    fitted = np.zeros(settings.frames, np.int16)
    wave = wave[: settings.frames]
    fitted[: len(wave)] = np.clip(np.rint(wave * 32768), -32768, 32767)
    return torch.from_numpy(fitted)


def resample(wave: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """Resample `wave` [T] from `rate` to `target` hertz in the frequency domain.

    Raises:
        SampleError: The wave is too short to give one frame.
    """
    length = round(len(wave) * target / rate)
    if length < 1:
        raise SampleError("preprocess", f"audio of {len(wave)} frames at {rate} Hz, too short for {target} Hz")
    spectrum = np.fft.rfft(wave)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (length / len(wave))).astype(np.float32)


def _cloud(points: NDArray[np.float32], count: int) -> Tensor:
    rows = np.linspace(0, len(points) - 1, count).round().astype(int) if len(points) != count else slice(None)
    chosen = points[rows]
    if chosen.shape[1] == 3:
        chosen = np.concatenate([chosen, np.full_like(chosen, 0.5)], axis=1)
    return torch.from_numpy(np.ascontiguousarray(chosen))
