"""The power spectrogram of CLAP's audio tower by FFT instead of by convolution, which takes three times as long."""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.spaces.laion_clap.audio import FFT, HOP

# By how much a filter may differ from its formula: what rounding to float32 leaves.
ROUNDING = 1e-5


class PowerSpectrogram(nn.Module):
    """|STFT|^2 of a wave, its ends reflected, as torchlibrosa's convolution gives it; of the two it is the nearer to float64.

    Args:
        window: [1024].
    """

    window: Tensor

    def __init__(self, window: Tensor) -> None:
        super().__init__()
        self.register_buffer("window", window, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """[B, 1, frames, 513] of waves [B, T]."""
        found = torch.stft(wave, FFT, HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True)
        return found.real.square().add_(found.imag.square()).transpose(1, 2)[:, None]


def by_fft(extractor: Any) -> nn.Module:
    """What replaces torchlibrosa's `extractor`, or itself where the filters of the checkpoint are not those of a windowed DFT."""
    cosines, sines = (conv.weight[:, 0].double() for conv in (extractor.stft.conv_real, extractor.stft.conv_imag))
    window = cosines[0]  # cos(0) times the window
    angles = torch.arange(FFT // 2 + 1).outer(torch.arange(FFT)).double() * (2 * torch.pi / FFT)
    right = (cosines - angles.cos() * window).abs().max() < ROUNDING and (
        sines + angles.sin() * window
    ).abs().max() < ROUNDING
    return PowerSpectrogram(window.float()) if right else extractor
