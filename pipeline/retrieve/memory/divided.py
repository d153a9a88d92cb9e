"""A memory that outgrows a device: its rows in pieces on several devices, or in the memory of the computer.

Sums go on from piece to piece. On several GPUs (sum, total, shift) of a block of queries move to the device of the next piece, while
the device before begins with the next queries; rows that lie in the memory of the computer come to the sums, block by block. So
the numbers are those of an undivided memory, to the bit, and how it was divided is nobody's concern.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# Pieces begin at multiples of it: of the rows of any block that is multiplied at a time.
PIECE = 16_384
# What is left free on a GPU for a block of queries, its sums and its weights.
RESERVE = 3 * 2**30


@dataclass(frozen=True)
class Divided:
    """Rows [N, D] of one memory in pieces.

    Attributes:
        pieces: [n, D] each, of one type, in order; all but the last have a multiple of the rows of a block.
    """

    pieces: tuple[Tensor, ...]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def shape(self) -> torch.Size:
        """[N, D]."""
        return torch.Size((len(self), self.pieces[0].shape[1]))

    @property
    def dtype(self) -> torch.dtype:
        """The type of all pieces."""
        return self.pieces[0].dtype

    def __getitem__(self, rows: slice) -> Tensor:
        """A block of rows, which lies in one piece, where that lies.

        Raises:
            ValueError: It lies in two.
        """
        start, stop = rows.start, min(rows.stop, len(self))
        for piece in self.pieces:
            if start < len(piece):
                if stop > len(piece):
                    raise ValueError("a block of a divided memory lies in two pieces")
                return piece[start:stop]
            start, stop = start - len(piece), stop - len(piece)
        raise ValueError("a block beyond the end of a memory")


Memory = Tensor | Divided
Room = Callable[[torch.device], int | None]


def place_of(rows: Tensor, home: torch.device) -> torch.device:
    """Where sums over `rows` are computed: where those lie, or at home if that is the memory of the computer."""
    return home if rows.device.type == "cpu" else rows.device


def free_on(device: torch.device) -> int | None:
    """Bytes that a memory can have on a GPU now; None on a CPU, where nothing is gained by another place."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(0, int(torch.cuda.mem_get_info(device)[0]) + kept - RESERVE)


def devices_beside(device: str) -> list[torch.device]:
    """`device`, and where it names no certain GPU all others that this process sees."""
    first = torch.device(device)
    if first.type != "cuda" or first.index is not None:
        return [first]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())] or [first]


def placed(name: str, tables: Sequence[Tensor], devices: Sequence[torch.device], room: Room = free_on) -> list[Memory]:
    """`tables`, N rows each on the CPU, on the first of `devices` if there is room, else divided, and the log says how.

    Args:
        name: What they are.
        tables: Rows of the same samples [N, D], in the type that is multiplied.
        devices: Where to compute; the first is home.
        room: How many bytes there are on a device.
    """
    bytes_of_row = sum(table.shape[1] * table.element_size() for table in tables)
    count, free = len(tables[0]), [room(device) for device in devices]
    if free[0] is None or count * bytes_of_row <= free[0]:
        return [table.to(devices[0]) for table in tables]
    size = f"{name}, {count:,} rows, takes {count * bytes_of_row / 1e9:,.1f} GB, and {free[0] / 1e9:,.1f} GB are free on {devices[0]}"
    shares = [(each or 0) // bytes_of_row // PIECE * PIECE for each in free]
    if sum(shares) >= count:
        bounds = _bounds(count, shares)
        used = [(slice(*bound), device) for bound, device in zip(bounds, devices, strict=True) if bound[1] > bound[0]]
        several = f"it is divided over {len(used)} GPUs, and sums go from one to the next"
        log.warning("%s: %s.", size, several if len(used) > 1 else f"it goes to {used[0][1]}")
        return [Divided(tuple(table[rows].to(device) for rows, device in used)) for table in tables]
    log.warning(
        "%s: it stays in host memory, and %.1f GB are copied for every block of queries.",
        size,
        count * bytes_of_row / 1e9,
    )
    return [Divided((table.pin_memory() if torch.cuda.is_available() else table,)) for table in tables]


def _bounds(count: int, shares: Sequence[int]) -> list[tuple[int, int]]:
    """First and last row of each piece: as even as the shares allow, so that no device waits longer than it must."""
    even = -(-count // len(shares) // PIECE) * PIECE or PIECE
    sizes, left = [], count
    for number, share in enumerate(shares):
        later = sum(shares[number + 1 :])
        sizes.append(min(left, share, max(even, -(-(left - later) // PIECE) * PIECE)))
        left -= sizes[-1]
    starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    return list(pairwise(starts))
