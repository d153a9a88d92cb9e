"""A CUDA graph on a CPU: every operation is recorded with the tensors that it read and wrote, and repeated on them.

Like a real one it knows no Python: a learning rate, an index or a table that was a number when it was recorded stays one.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, graph: "FakeGraph") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = graph

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")  # the program waits for a number
        self.graph.operations.append((function, args, kwargs or {}, made))
        return made


class FakeGraph:
    """What `RecordedStep` needs of `torch.cuda.CUDAGraph`.

    Attributes:
        operations: Function, arguments and results of each.
        replays: How often it was repeated.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def register_generator_state(self, generator: torch.Generator) -> None:
        """A generator on the CPU has nothing to register."""

    def replay(self) -> None:
        """Do every operation again, its results in the places of the first ones."""
        self.replays += 1
        with torch.no_grad():
            for function, args, kwargs, made in self.operations:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@contextmanager
def fake_graphs() -> Iterator[list[FakeGraph]]:
    """Within it `torch.cuda` records on the CPU; yields the graphs that are made."""
    made: list[FakeGraph] = []

    def new() -> FakeGraph:
        made.append(FakeGraph())
        return made[-1]

    class Stream:
        def wait_stream(self, other: object) -> None:
            """There is one stream."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "CUDAGraph", new)
        patch.setattr(torch.cuda, "graph", _Recorder)
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        patch.setattr(torch.cuda, "current_stream", Stream)
        patch.setattr(torch.cuda, "synchronize", lambda: None)
        yield made
