"""How fast this machine is, measured for a moment."""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from pipeline.errors import SampleError, UserError
from pipeline.modalities import modality_of
from pipeline.precision import multiplying
from pipeline.spaces import Space
from pipeline.spaces.apart import preprocess_apart
from pipeline.store.parts.file import part_file
from pipeline.store.shards import open_shards, read_shard

MATRIX = 1024


@dataclass(frozen=True)
class Pace:
    """Seconds per sample.

    Attributes:
        preprocess: To decode and prepare it, in one thread.
        compute: To embed it, in a batch.
    """

    preprocess: float
    compute: float

    def seconds(self, samples: int, workers: int, same_cores: bool) -> float:
        """Time for `samples` with `workers` threads that prepare ahead; on the CPU both share the same cores."""
        prepare = self.preprocess / workers
        return samples * (prepare + self.compute if same_cores else max(prepare, self.compute))


def probe_encode(space: Space, modality: str, shards: Path, count: int) -> Pace:
    """Embed the first `count` usable samples of a corpus, after one that warms the model up.

    Raises:
        UserError: None of the first samples can be used.
        CorruptError: A shard is damaged.
    """
    samples = chain.from_iterable(read_shard(part_file(shards, part)) for part in open_shards(shards).parts)
    inputs: list[Tensor] = []
    spent = 0.0
    with ExitStack() as stack:
        prepare = preprocess_apart(space, modality, stack)
        for sample in islice(samples, 4 * count):
            payload = next((body for end, body in sample.members.items() if modality_of(end) == modality), None)
            if payload is None:
                continue
            started = perf_counter()
            [found] = prepare([payload])
            if isinstance(found, SampleError):
                continue
            # The first one waits for its process.
            spent += perf_counter() - started if inputs else 0.0
            inputs.append(found)
            if len(inputs) == count:
                break
    if not inputs:
        raise UserError(f"None of the first samples of {shards} is a usable {modality}.", "Look at its source.")
    batch = torch.stack(inputs)
    space.encode(modality, batch[:1])
    started = perf_counter()
    space.encode(modality, batch)
    return Pace(spent / max(len(inputs) - 1, 1), (perf_counter() - started) / len(inputs))


@multiplying()
def operations_per_second(device: str) -> float:
    """Floating-point operations per second of large products of matrices in fp32, of which retrieval consists."""
    left = torch.ones(MATRIX, MATRIX, device=device)
    float((left @ left)[0, 0])
    best = float("inf")
    for _ in range(3):
        started = perf_counter()
        float((left @ left)[0, 0])  # the number is fetched, so that a GPU has finished
        best = min(best, perf_counter() - started)
    return 2 * MATRIX**3 / best
