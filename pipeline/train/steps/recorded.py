"""A step of the training as one CUDA graph: some two hundred kernels are started by one call."""

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Compute = Callable[[Mapping[str, Tensor]], Tensor]
WARM_UP = 3  # steps before the recording, in which libraries choose and allocate what must not be in it


class RecordedStep:
    """What `compute` does, recorded once and then repeated with other numbers at the same addresses.

    Everything that changes from step to step must be a tensor that is written in place: the batch, the learning rate,
    weights, the state of the optimiser. A number of Python is recorded as it is.

    Attributes:
        batch: Rows [B, D] by column, to be filled before each step.

    Args:
        compute: From a batch to the terms of its loss [T], the weights moved.
        batch: A first batch.
        state: All that `compute` changes; it is as it was afterwards.
        noise: The source of randomness in `compute`. It can be seeded anew between steps.

    Raises:
        RuntimeError: Something in `compute` cannot be recorded.
    """

    def __init__(
        self,
        compute: Compute,
        batch: Mapping[str, Tensor],
        state: Callable[[], Mapping[str, Tensor]],
        noise: torch.Generator,
    ) -> None:
        self.batch = {name: rows.clone() for name, rows in batch.items()}
        with torch.cuda.device_of(next(iter(self.batch.values()))):  # type: ignore[no-untyped-call]
            self._record(compute, state, noise)

    def _record(self, compute: Compute, state: Callable[[], Mapping[str, Tensor]], noise: torch.Generator) -> None:
        before = {name: tensor.clone() for name, tensor in state().items()}
        seed = noise.initial_seed()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    compute(self.batch)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(noise)
            with torch.cuda.graph(self._graph):
                self._terms = compute(self.batch)
        finally:
            torch.cuda.synchronize()
            # What the optimiser made for itself starts at zero.
            for name, tensor in state().items():
                tensor.copy_(before[name]) if name in before else tensor.zero_()
            noise.manual_seed(seed)

    def __call__(self) -> Tensor:
        """Repeat the step on what `batch` holds; the terms of the loss [T] are valid until the next call."""
        self._graph.replay()
        return self._terms
