"""Read the data of a pickle without running it.

A pickle is a program: whoever opens it with Python's own reader runs what its author wrote. Here the program is only
looked at. Its instructions are taken one by one; those that build dictionaries, lists, numbers, strings and NumPy
arrays are followed, by code of our own, and everything else is refused. No name in a pickle is ever imported or called.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SampleError
from pipeline.shard.formats.inert_numpy import BUILDERS, Unfinished, build

MAX_DEPTH = 1_000_000


@dataclass(frozen=True)
class _Name:
    """A global that a pickle refers to; never looked up."""

    module: str
    name: str


class _Mark:
    """Where on the stack the items of a list or dictionary begin."""


_MARK = _Mark()
_PLAIN = {
    "NONE", "BININT", "BININT1", "BININT2", "INT", "LONG1", "LONG4", "LONG", "BINFLOAT", "FLOAT", "NEWTRUE", "NEWFALSE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SILENT = {"PROTO", "FRAME"}


def read_inert(pickled: bytes) -> Any:
    """The value that `pickled` describes.

    Raises:
        SampleError: It is damaged, or asks for anything but plain values and arrays of numbers.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return machine.result()
            machine.follow(opcode.name, argument)
    except SampleError:
        raise
    except Exception as error:  # damage shows in many types: a short stack, an index, a wrong operand
        raise SampleError("read", f"a damaged pickle ({type(error).__name__})") from error
    raise SampleError("read", "a pickle without its end")


class _Machine:
    """The stack and memory of a pickle, and the few instructions that are followed."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.actions: dict[str, Callable[[], None]] = {
            "MARK": lambda: self.push(_MARK),
            "EMPTY_DICT": lambda: self.push({}),
            "EMPTY_LIST": lambda: self.push([]),
            "EMPTY_TUPLE": lambda: self.push(()),
            "TUPLE1": lambda: self.push(tuple(self.pop(1))),
            "TUPLE2": lambda: self.push(tuple(self.pop(2))),
            "TUPLE3": lambda: self.push(tuple(self.pop(3))),
            "TUPLE": lambda: self.push(tuple(self.to_mark())),
            "LIST": lambda: self.push(self.to_mark()),
            "DICT": lambda: self.push(_pairs(self.to_mark())),
            "SETITEM": lambda: self.set_items(self.pop(2)),
            "SETITEMS": lambda: self.set_items(self.to_mark()),
            "APPEND": lambda: self.append(self.pop(1)),
            "APPENDS": lambda: self.append(self.to_mark()),
            "MEMOIZE": lambda: self.memory.update({len(self.memory): self.stack[-1]}),
            "STACK_GLOBAL": lambda: self.push(_Name(*self.pop(2))),
            "REDUCE": self.reduce,
            "BUILD": self.build,
        }

    def result(self) -> Any:
        """The one value that is left."""
        (value,) = self.stack
        return value.value() if isinstance(value, Unfinished) else value

    def follow(self, name: str, argument: Any) -> None:
        """Do what one instruction says."""
        if name in _PLAIN:
            self.push(_CONSTANTS.get(name, argument))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.push(self.memory[int(argument)])
        elif name == "GLOBAL":
            self.push(_Name(*argument.split(" ", 1)))
        elif name in self.actions:
            self.actions[name]()
        elif name not in _SILENT:
            raise SampleError("read", f"a pickle with the instruction {name}, which is not followed")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        if len(self.stack) >= MAX_DEPTH:
            raise SampleError("read", "a pickle that is far too deep")
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """Take the last `count` values off the stack."""
        if len(self.stack) < count:
            raise SampleError("read", "a damaged pickle (short stack)")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def to_mark(self) -> list[Any]:
        """Take off the stack what is above the last mark, and the mark."""
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise SampleError("read", "a damaged pickle (no mark)")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def set_items(self, items: list[Any]) -> None:
        """Put pairs into the dictionary on top of the stack."""
        _of(dict, self.stack[-1]).update(_pairs(items))

    def append(self, items: list[Any]) -> None:
        """Put items into the list on top of the stack."""
        _of(list, self.stack[-1]).extend(items)

    def reduce(self) -> None:
        """Replace a name and its arguments by the value that our own code makes of them."""
        name, arguments = self.pop(2)
        maker = BUILDERS.get((name.module, name.name)) if isinstance(name, _Name) else None
        if maker is None:
            shown = f"{name.module}.{name.name}" if isinstance(name, _Name) else type(name).__name__
            raise SampleError("read", f"a pickle that wants to call {shown[:60]}, which is refused")
        self.push(maker(*_of(tuple, arguments)))

    def build(self) -> None:
        """Give the value on top of the stack its content."""
        (state,) = self.pop(1)
        build(self.stack[-1], state)


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise SampleError("read", f"a damaged pickle ({type(value).__name__} instead of {kind.__name__})")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {
        key: value.value() if isinstance(value, Unfinished) else value
        for key, value in zip(items[::2], items[1::2], strict=True)
    }
