"""Which tile the fused kernels use on a device: the first that it can hold and that computes what it should."""

import logging
from functools import cache

import torch
from torch import Tensor

from pipeline.retrieve.memory.fused import Fused, FusedSums, Tile
from pipeline.retrieve.memory.products import Blocks

log = logging.getLogger(__name__)

# The first is for cards of 228 KB shared memory a processor, the others for smaller ones: the first that a card can hold.
# On an H100 the first was the quickest of eleven; from descriptors it was as quick.
TILES = (Tile(128, 256, 64, 8, 3, lasting=True), Tile(128, 128, 64, 4, 3), Tile(64, 64, 32, 4, 2))


def tile_of(queries: Tensor, dtype: torch.dtype) -> Tile | None:
    """The tile that the kernels use on the device of `queries`; None where they cannot be used, and the log says why.

    A tensor that only claims to be on a GPU has no numbers for a kernel.

    Raises:
        torch.OutOfMemoryError: The device is full.
    """
    return _tile_on(queries.device, dtype) if type(queries) is Tensor else None


@cache
def _tile_on(device: torch.device, dtype: torch.dtype) -> Tile | None:
    """See `tile_of`.

    Each is tried on a small aggregation whose result is known.

    Raises:
        torch.OutOfMemoryError: The device is full.
    """
    problem = "it needs a GPU"
    for tile in TILES if device.type == "cuda" else ():
        try:
            if is_right(tile, device, dtype):
                return tile
            problem = "its results are wrong"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Triton, its compiler and the driver raise what they like
            problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[
                :300
            ]
    log.warning("The fused aggregation cannot be used here (%s); plain torch is used, which is slower.", problem)
    return None


def is_right(tile: Tile, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small aggregation, of two blocks whose second is the nearer one, is what float64 says."""
    rows = torch.sin(torch.arange(300 * 96, dtype=torch.float64)).reshape(300, 96)
    rows = torch.nn.functional.normalize(rows, dim=1).to(dtype).to(device)
    queries, keys = rows[200:], torch.cat([-rows[:200], rows])
    vectors, statistics = torch.zeros(len(queries), 96, device=device), torch.empty(3, len(queries), device=device)
    buffers = Fused(tile, Blocks(len(queries), 300), queries, spread=True)
    sums = FusedSums(buffers, queries, 0.05, [vectors], statistics.unbind(), None)
    for part in (keys[:200], keys[200:]):
        sums.add(part, [part])
    sums.close()
    logits = queries.double() @ keys.double().T / 0.05
    expected = torch.softmax(logits, 1)
    entropies = -(expected * expected.log()).sum(1)
    found = (vectors - expected @ keys.double(), statistics[0] - logits.logsumexp(1), statistics[2] - entropies)
    return all(bool((difference.abs() < 0.02).all()) for difference in found)
