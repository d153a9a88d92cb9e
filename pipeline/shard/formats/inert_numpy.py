"""The few calls with which NumPy describes an array in a pickle, done by our own code on checked operands."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.errors import SampleError
from pipeline.modalities import POINT
from pipeline.shard.limits import MAX_BYTES

_NUMBERS = re.compile(r"[<>|=]?[fiubSU][0-9]{1,6}")


class Unfinished:
    """A type or an array whose content follows with the next instruction."""

    def value(self) -> Any:
        """What it is, once it is whole."""
        raise NotImplementedError


class ArrayType(Unfinished):
    """A type of entries, with its byte order once that is known."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not (_NUMBERS.fullmatch(code) or code == "O8"):
            raise SampleError("read", f"a pickle with entries of type {str(code)[:20]!r}")
        self.code = code
        self.order = ""

    def complete(self, state: tuple[Any, ...]) -> None:
        """Take the byte order from the state."""
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise SampleError("read", "a pickle with entries of a structured type")
        self.order = state[1]

    @property
    def objects(self) -> bool:
        """Whether the entries are values of any type, listed one by one."""
        return self.code == "O8"

    def value(self) -> np.dtype[Any]:
        """The type of entries, which are numbers or strings of fixed length."""
        if self.objects:
            raise SampleError("read", "a pickle with entries of any type")
        return np.dtype(self.code if self.code[0] in "<>|=" else self.order + self.code)


class Array(Unfinished):
    """An array whose entries are not there yet."""

    def __init__(self, *_: object) -> None:
        self.content: Any = None

    def complete(self, state: tuple[Any, ...]) -> None:
        """Take shape, type and entries from the state."""
        _, shape, kind, fortran, entries = state
        if not all(isinstance(side, int) and side >= 0 for side in shape) or not isinstance(kind, ArrayType):
            raise SampleError("read", "a damaged pickle (array)")
        count = math.prod(shape)
        if kind.objects:
            # A list of values: a dictionary wrapped as an array without sides is one of them.
            if not isinstance(entries, list) or len(entries) != count:
                raise SampleError("read", "a damaged pickle (array of values)")
            plain = [entry.value() if isinstance(entry, Unfinished) else entry for entry in entries]
            self.content = plain[0] if shape == () else plain
            return
        dtype = kind.value()
        if not isinstance(entries, bytes) or len(entries) != count * dtype.itemsize or len(entries) > MAX_BYTES[POINT]:
            raise SampleError("read", "a damaged pickle (array of numbers)")
        self.content = np.frombuffer(entries, dtype).reshape(shape, order="F" if fortran else "C")

    def value(self) -> Any:
        """The array, or the list of its entries if they are not numbers."""
        if self.content is None:
            raise SampleError("read", "a damaged pickle (empty array)")
        return self.content


def build(target: object, state: object) -> None:
    """Give an unfinished type or array its content.

    Raises:
        SampleError: It is neither, or the content does not fit.
    """
    if not isinstance(target, ArrayType | Array) or not isinstance(state, tuple) or len(state) < 5:
        raise SampleError("read", "a pickle that sets the state of an unknown object, which is refused")
    target.complete(state)


def _number(kind: object, content: object) -> Any:
    if not isinstance(kind, ArrayType) or not isinstance(content, bytes):
        raise SampleError("read", "a damaged pickle (number)")
    return np.frombuffer(content, kind.value(), 1)[0].item()


def _encoded(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise SampleError("read", "a damaged pickle (bytes)")
    return text.encode("latin1")


# NumPy 2 moved its inner modules; files of both ages exist.
BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    ("numpy", "dtype"): ArrayType,
    ("_codecs", "encode"): _encoded,
}
