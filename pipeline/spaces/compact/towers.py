"""The towers of compact spaces: small networks that train in seconds on a CPU."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The hop and window that give about 50 frames from 0.8 s at 8 kHz.
_WINDOW = 256
_HOP = 128


@dataclass(frozen=True)
class TextSettings:
    """Bag of words: `vocabulary` in the order of the ids 1, 2, ...; id 0 is not a word; at most `length` words."""

    vocabulary: tuple[str, ...]
    length: int = 24
    width: int = 128
    hidden: int = 256


@dataclass(frozen=True)
class ImageSettings:
    """Convolutions on pictures of `side` x `side` pixels, averaged over the place."""

    side: int = 32
    width: int = 32


@dataclass(frozen=True)
class AudioSettings:
    """Convolutions on the log-mel spectrogram of `frames` samples at `rate` hertz."""

    rate: int = 8000
    frames: int = 6400
    mels: int = 32
    width: int = 24


@dataclass(frozen=True)
class PointSettings:
    """One network for each of `points` coloured points, then the maximum over all."""

    points: int = 96
    width: int = 64


class TextTower(nn.Module):
    """Mean of word embeddings, then two layers: ids [B, L] to [B, D]."""

    def __init__(self, settings: TextSettings, dimension: int) -> None:
        super().__init__()
        self.words = nn.Embedding(len(settings.vocabulary) + 1, settings.width, padding_idx=0)
        self.head = nn.Sequential(
            nn.Linear(settings.width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, dimension)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Embed padded word ids [B, L]; a text without a known word becomes the embedding of nothing."""
        return self.head(self.words(ids).sum(1) / 4)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _PooledCnn(nn.Module):
    """Convolutions, then mean and maximum over the plane: [B, C, H, W] to [B, D]."""

    def __init__(self, channels: int, width: int, dimension: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(channels, width, stride=2),
            _convolution(width, 2 * width, stride=2),
            _convolution(2 * width, 4 * width, stride=2),
        )
        self.head = nn.Linear(8 * width, dimension)

    def forward(self, plane: Tensor) -> Tensor:
        # Channels innermost: convolutions and batch norms of few channels run a fifth to a third quicker on a CPU.
        features = self.layers(plane.contiguous(memory_format=torch.channels_last))
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))


class ImageTower(nn.Module):
    """Pictures [B, 3, H, W] of bytes to [B, D]."""

    def __init__(self, settings: ImageSettings, dimension: int) -> None:
        super().__init__()
        self.network = _PooledCnn(3, settings.width, dimension)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures [B, 3, H, W] with values 0 to 255."""
        return self.network(pictures.to(self.network.head.weight.dtype) / 127.5 - 1)


class AudioTower(nn.Module):
    """Waves [B, T] of 16-bit samples to [B, D]."""

    def __init__(self, settings: AudioSettings, dimension: int) -> None:
        super().__init__()
        self.network = _PooledCnn(1, settings.width, dimension)
        # No buffers: a cast of the weights to half precision must not touch the spectrogram.
        self.filters = (torch.hann_window(_WINDOW), mel_filters(settings.mels, _WINDOW // 2 + 1, settings.rate))

    def forward(self, waves: Tensor) -> Tensor:
        """Embed waves [B, T] with values -32768 to 32767."""
        window, mels = (table.to(waves.device) for table in self.filters)
        spectrum = torch.stft(waves.float() / 32768, _WINDOW, _HOP, window=window, return_complex=True)
        power = mels @ (spectrum.real**2 + spectrum.imag**2)
        # Powers of ten to about -2 .. 1, so that the first layer sees values of its own scale.
        logarithm = torch.log10(power + 1e-6) / 3
        return self.network(logarithm[:, None].to(self.network.head.weight.dtype))


def _normed(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)


class PointTower(nn.Module):
    """Coloured points [B, P, 6] to [B, D]."""

    def __init__(self, settings: PointSettings, dimension: int) -> None:
        super().__init__()
        width = settings.width
        self.point = nn.Sequential(*_normed(6, width // 2), *_normed(width // 2, width), nn.Linear(width, 2 * width))
        self.head = nn.Sequential(nn.BatchNorm1d(4 * width), nn.ReLU(), nn.Linear(4 * width, dimension))

    def forward(self, points: Tensor) -> Tensor:
        """Embed clouds [B, P, 6] of x, y, z, red, green, blue."""
        rows = points.flatten(0, 1).to(next(self.point.parameters()).dtype)
        features = self.point(rows).unflatten(0, points.shape[:2])
        return self.head(torch.cat([features.amax(1), features.mean(1)], dim=1))


def mel_filters(mels: int, bins: int, rate: int) -> Tensor:
    """Triangles that are evenly spaced in mel, [mels, bins], for a spectrum up to half of `rate`."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, float(top), mels + 2, dtype=torch.float64) / 2595) - 1)
    # At low pitch a triangle may be narrower than a bin: widened to one, no filter is empty.
    spacing = rate / 2 / (bins - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    low, high = torch.minimum(low, middle - spacing), torch.maximum(high, middle + spacing)
    frequency = torch.linspace(0, rate / 2, bins, dtype=torch.float64)
    rise, fall = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return F.relu(torch.minimum(rise, fall)).float()
