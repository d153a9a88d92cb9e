"""What can be known about a GPU without one: devices and types of all tensors, and which products might round to TF32."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.spaces import SpaceSpec, load_space

# Parts of the names of all operators that multiply matrices or convolve.
MULTIPLY = ("mm", "matmul", "linear", "conv", "attention", "einsum", "bilinear", "cdist", "lstm", "gru", "multi_head")


@contextmanager
def without_numbers() -> Iterator[None]:
    """Where a program wants to know a number that was never computed, it gets 1, and No to each question."""
    answers: dict[str, Callable[[Tensor], object]] = {
        "__int__": lambda tensor: 1,
        "__bool__": lambda tensor: False,
        "cpu": lambda tensor: (
            torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else originals["cpu"](tensor)
        ),
    }
    originals = {name: getattr(Tensor, name) for name in answers}

    def replaced(name: str) -> Any:
        unknown: Callable[[Tensor], bool] = lambda tensor: tensor.is_meta or isinstance(tensor, FakeTensor)  # noqa: E731
        return lambda tensor: answers[name](tensor) if unknown(tensor) else originals[name](tensor)

    with pytest.MonkeyPatch.context() as patch:
        for name in answers:
            patch.setattr(Tensor, name, replaced(name))
        yield


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within it tensors on ``cuda`` can be made. Shapes, types and devices are computed as on a GPU, numbers are not: an
    operation on tensors of two devices is an error.

    Real tensors count as what they are, on the CPU. Autograd's engine asks for a real device: call backward functions directly.
    """
    with without_numbers(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def on_cuda(mode: FakeTensorMode, value: Any, seen: set[int] | None = None, package: str = "pipeline") -> Any:
    """`value`, an object of this project or of `package` that was made on the device ``meta``, with all that lies there moved to the fake GPU.

    What stayed on the CPU stays there, so that it is found out when it meets the rest.
    """
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        if value.is_meta:
            fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
        else:
            fake = mode.from_tensor(value.detach())
        return nn.Parameter(fake, value.requires_grad) if isinstance(value, nn.Parameter) else fake
    if type(value) in (list, tuple):
        return type(value)(on_cuda(mode, each, seen, package) for each in value)
    if isinstance(value, MethodType):
        on_cuda(mode, value.__self__, seen, package)
    elif isinstance(value, dict):
        for key, each in value.items():
            value[key] = on_cuda(mode, each, seen, package)
    elif id(value) not in seen and (isinstance(value, nn.Module) or _package(value) in ("pipeline", package)):
        seen.add(id(value))
        on_cuda(mode, getattr(value, "__dict__", {}), seen, package)
    return value


def _package(value: object) -> str:
    """The outermost package of an object's type."""
    return type(value).__module__.partition(".")[0]


def encode_on_fake_cuda(spec: SpaceSpec, modality: str, batch: Tensor) -> tuple[Tensor, "Watch"]:
    """What the space of `spec` makes of a stacked `batch` on the GPU that is not there, and the products in it."""
    with without_numbers():
        space: Any = load_space(spec, "meta")
    with fake_cuda() as mode, watched() as watch:
        on_cuda(mode, vars(space), package=_package(space))
        if hasattr(space, "device"):
            space.device = type(space.device)("cuda")
        return space.encode(modality, mode.from_tensor(batch)), watch


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the products and convolutions with float32 factors, and those for which TF32 is allowed at that moment.

    Attributes:
        products: Names of all.
        loose: Names of those that may be rounded.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[str] = []
        self.loose: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        factors = [each for each in args if isinstance(each, Tensor) and each.dtype == torch.float32]
        if factors and any(part in name for part in MULTIPLY):
            self.products.append(name)
            backends: Any = torch.backends
            units = (
                backends.cuda.matmul,
                backends.cudnn.conv,
                backends.cudnn.rnn,
                backends.mkldnn.matmul,
                backends.mkldnn.conv,
            )
            if {unit.fp32_precision for unit in units} != {"ieee"}:
                self.loose.append(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def watched() -> Iterator[Watch]:
    """A `Watch` in a process whose switches all allow what they can, as if another module had set them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with Watch() as watch:
            yield watch
    finally:
        torch.set_float32_matmul_precision(before)
