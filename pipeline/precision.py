"""In which number format products and convolutions are computed: said where they are made, never left to a switch.

torch keeps the choice in switches of the whole process. Any module can turn them, so can environment variables, and
convolutions on a GPU start with TF32 allowed, which keeps 10 of float32's 23 bits: the spectrogram of a pure tone, a
convolution, is then off by decibels. So whatever multiplies does it within `multiplying`, which sets the switches for
as long as it runs and puts them back. They belong to the process: threads that multiply in different formats must take turns.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError, choice

log = logging.getLogger(__name__)

# By name: the type that tensors are held in. `tf32` holds float32 and lets a GPU round the factors of its products.
PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: str) -> torch.dtype:
    """The type of weights and activations that `precision` names.

    Raises:
        UserError: There is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision {precision!r}.", choice(precision, PRECISIONS))
    return PRECISIONS[precision]


def arithmetic_of(device: str | torch.device, precision: str) -> str:
    """What a part records about its numbers: kind of device and precision, such as ``cuda fp16``.

    Equal bytes are promised within one kind of device only.
    """
    return f"{torch.device(device).type} {precision}"


@contextmanager
def multiplying(precision: str = "fp32") -> Iterator[None]:
    """Within it, and as a decorator: products of float32 are TF32 if `precision` says so, and never otherwise.

    Products of 16-bit factors are summed in float32.
    """
    before = _Switches.read()
    (_TF32 if precision == "tf32" else _EXACT).write()
    try:
        yield
    finally:
        before.write()


SHORT = (torch.float16, torch.bfloat16)
# How torch and cuBLAS say that they lack something, as against having failed at it.
_LACKING = ("not supported", "not_supported", "unsupported", "not implemented", "out_dtype")


@cache
def multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `device` multiplies 16-bit factors of `dtype` with float32 sums; where a GPU cannot, the log says so.

    Raises:
        RuntimeError: It can, but failed, such as for want of memory.
    """
    if device.type != "cuda":
        return False
    probe = torch.ones(16, 16, dtype=dtype, device=device)
    try:
        torch.mm(probe, probe, out_dtype=torch.float32)
    except (TypeError, NotImplementedError, RuntimeError) as error:
        lacks = not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError)
        if not lacks and not any(sign in str(error).lower() for sign in _LACKING):
            raise
        log.warning(
            "Products in %s are not supported here (%s); fp32 is used, which is many times slower.", dtype, error
        )
        return False
    return True


def product(first: Tensor, second: Tensor) -> Tensor:
    """first [M, K] second [K, N]; of 16-bit factors in float32, by the device itself where it can and otherwise after both
    are converted.
    """
    if first.dtype not in SHORT:
        return first @ second
    if multiplies(first.device, first.dtype):
        return torch.mm(first, second, out_dtype=torch.float32)
    with rounding_allowed(may_round(first.device, first.dtype)):
        return first.float() @ second.float()


def may_round(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `device` is a CPU whose products of float32 are faster if their factors may be rounded to `dtype`.

    That is bfloat16 on CPUs with AVX512-BF16 or AMX; sums are float32. torch has no product of bfloat16 on a CPU that returns
    float32.
    """
    return device.type == "cpu" and dtype == torch.bfloat16 and _has_bf16_instructions()


@cache
def _has_bf16_instructions() -> bool:
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@contextmanager
def rounding_allowed(allowed: bool = True) -> Iterator[None]:
    """Within it products of float32 on a CPU may round their factors to bfloat16, if `allowed`; see `may_round`.

    Whether they do is up to oneDNN, which then multiplies: with AMX they are rounded, with AVX512-BF16 alone they are not.
    """
    cpu: Any = torch.backends.mkldnn
    unit = cpu.matmul
    before = unit.fp32_precision
    if allowed:
        unit.fp32_precision = "bf16"
    try:
        yield
    finally:
        unit.fp32_precision = before


@cache
def rounds(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether what `device` may round to `dtype` is rounded in fact, see `may_round`."""
    if not may_round(device, dtype):
        return False
    rows, one = _not_short(str(device))
    with rounding_allowed():
        return bool((rows @ one != rows).any())


def check_float32(device: str) -> None:
    """Compute on `device` a product and a convolution that TF32 would round.

    Raises:
        UserError: They are rounded: something outside of torch forces TF32.
    """
    rows, one = _not_short(device)
    with multiplying():
        made = (rows @ one, torch.nn.functional.conv1d(rows[None], one[:, :, None])[0])
    if any(bool((found != rows).any()) for found in made):
        raise UserError(
            f"Products of float32 on {device} are rounded to fewer bits, although this is switched off.",
            "Unset NVIDIA_TF32_OVERRIDE and other variables that force TF32, or run with `run.device: cpu`.",
        )


def _not_short(device: str) -> tuple[Tensor, Tensor]:
    """Numbers [256, 256] that no shorter format holds, and the identity [256, 256]."""
    size, value = 256, 1 + 2.0**-12  # the nearest number of 10 bits is 1
    return torch.full((size, size), value, device=device), torch.eye(size, device=device)


@dataclass(frozen=True)
class _Switches:
    """State of torch's switches.

    Attributes:
        matmul: The older switch of all matrix products; set as well, because torch refuses to multiply on a GPU where old
            and new switches contradict each other.
        cudnn: The older switch of convolutions.
        units: The newer ones, see `_units`: ``ieee``, ``tf32`` or ``bf16``; a default of a whole backend does not reach them.
        short_sums: Whether sums over 16-bit factors may be in 16 bits, see `_SHORT_SUMS`.
    """

    matmul: str
    cudnn: bool
    units: tuple[str, ...]
    short_sums: tuple[bool, ...]

    @classmethod
    def read(cls) -> "_Switches":
        units = tuple(unit.fp32_precision for unit in _units())
        try:
            matmul = torch.get_float32_matmul_precision()
        except RuntimeError:  # somebody set old and new switches to different values
            matmul = "high" if units[0] == "tf32" else "highest"
        try:
            cudnn = torch.backends.cudnn.allow_tf32
        except RuntimeError:
            cudnn = units[1] == "tf32"
        short_sums = tuple(getattr(torch.backends.cuda.matmul, name) for name in _SHORT_SUMS)
        return cls(matmul, cudnn, units, short_sums)

    def write(self) -> None:
        torch.set_float32_matmul_precision(self.matmul)
        torch.backends.cudnn.allow_tf32 = self.cudnn
        for unit, precision in zip(_units(), self.units, strict=True):
            unit.fp32_precision = precision
        for name, value in zip(_SHORT_SUMS, self.short_sums, strict=True):
            setattr(torch.backends.cuda.matmul, name, value)


_SHORT_SUMS = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)


def _units() -> tuple[Any, ...]:
    """What multiplies: products, convolutions and recurrent layers on a GPU, then on a CPU."""
    gpu: Any = torch.backends.cudnn
    cpu: Any = torch.backends.mkldnn
    return torch.backends.cuda.matmul, gpu.conv, gpu.rnn, cpu.matmul, cpu.conv, cpu.rnn


_EXACT = _Switches("highest", False, ("ieee",) * 6, (False,) * 3)
_TF32 = _Switches("high", True, ("tf32",) * 3 + ("ieee",) * 3, (False,) * 3)
