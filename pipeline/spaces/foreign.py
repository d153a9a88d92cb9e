"""Encoders of somebody else: held to the protocol, and named where they fail, so that nobody looks for the fault in this program."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import McrError, SampleError, UserError
from pipeline.plugins import Plugin
from pipeline.spaces.protocol import LENGTH_OFF, Fingerprint, Space, SpaceSpec

if TYPE_CHECKING:
    from torch import Tensor

HINT = "Repair it: docs/plugins.md says what it must do and how to test it, and `mcr -v ...` shows where it failed."


def load_foreign(plugin: Plugin, spec: SpaceSpec, device: str) -> Space:
    """The space of `spec`, whose encoder is `plugin`.

    Raises:
        UserError: It cannot be loaded, or does not keep the protocol; so do its methods later.
    """
    space: Any = _called(plugin, "load", plugin.load())(spec, device)
    modalities, dimension = (getattr(space, name, None) for name in ("modalities", "dimension"))
    if (
        not isinstance(modalities, tuple | list)
        or not modalities
        or not all(isinstance(one, str) for one in modalities)
    ):
        raise UserError(f"{plugin} has modalities {modalities!r}, which is no tuple of names.", HINT)
    if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
        raise UserError(f"{plugin} has dimension {dimension!r}, which is no positive number.", HINT)
    _hold_to_protocol(plugin, space)
    held: Space = space
    return held


@contextmanager
def blamed(plugin: Plugin, method: str) -> Iterator[None]:
    """What `method` of `plugin` raises is its own fault, but for what the caller or the machine is to blame for.

    Raises:
        UserError: It raised anything else.
    """
    import torch

    try:
        yield
    except (McrError, SampleError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{plugin} failed in `{method}` ({said}).", HINT) from error


def _called(plugin: Plugin, name: str, owner: Any) -> Callable[..., Any]:
    method = getattr(owner, name, None)
    if not callable(method):
        raise UserError(f"{plugin} has no method `{name}`.", HINT)

    def call(*arguments: Any) -> Any:
        with blamed(plugin, name):
            return method(*arguments)

    return call


def _hold_to_protocol(plugin: Plugin, space: Any) -> None:
    import torch

    fingerprint, preprocess, encode = (_called(plugin, name, space) for name in ("fingerprint", "preprocess", "encode"))
    shapes: dict[str, Any] = {}

    def checked_fingerprint(modality: str) -> Fingerprint:
        found = fingerprint(modality)
        with blamed(plugin, "fingerprint"):
            if not isinstance(found, dict):
                raise TypeError(f"it returned a {type(found).__name__}, no dict")
            json.dumps(found, allow_nan=False)  # NaN differs from itself: all would be stale for ever
        return found

    def checked_input(modality: str, payload: bytes) -> "Tensor":
        found = preprocess(modality, payload)
        if not isinstance(found, torch.Tensor):
            raise UserError(f"{plugin} returned a {type(found).__name__} from `preprocess`, no tensor.", HINT)
        if shapes.setdefault(modality, found.shape) != found.shape:
            both = f"{list(shapes[modality])} and {list(found.shape)}"
            raise UserError(
                f"{plugin} returned tensors of shapes {both} from `preprocess`, which cannot be stacked.", HINT
            )
        return found

    def checked_rows(modality: str, batch: "Tensor") -> "Tensor":
        found = encode(modality, batch)
        expected = f"no floating-point tensor [{len(batch)}, {space.dimension}]"
        if not isinstance(found, torch.Tensor):
            raise UserError(f"{plugin} returned a {type(found).__name__} from `encode`, {expected}.", HINT)
        if found.shape != (len(batch), space.dimension) or not found.is_floating_point():
            raise UserError(f"{plugin} returned {found.dtype} {list(found.shape)} from `encode`, {expected}.", HINT)
        if found.device.type == "cpu" and type(found) is torch.Tensor:  # one that is simulated has no numbers
            lengths = found.detach().float().norm(dim=1)
            usable = lengths.isfinite() & (lengths > 0)  # others are rejected one by one
            if (odd := lengths[usable & ((lengths - 1).abs() > LENGTH_OFF)]).numel():
                raise UserError(
                    f"{plugin} returned a row of length {odd[0]:.4g} from `encode`, where all have length 1.", HINT
                )
        return found.detach()

    space.fingerprint, space.preprocess, space.encode = checked_fingerprint, checked_input, checked_rows
