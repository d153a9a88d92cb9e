"""Memory that a step or a batch frees stays with the process, so that the system need not give the next one new pages.

glibc returns every large block to the system when it is freed. A training step of 4,096 pairs then asks for 130,000 pages of 4 KiB
anew, each of which the system has to find and to clear; on a CPU that is a tenth of its time, and as much of a vision transformer's.
"""

import ctypes
from contextlib import suppress

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Blocks up to this size are kept, and about as much as this altogether; both are what fits an int.
_LARGEST, _KEPT = 1 << 30, (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Keep blocks of up to 1 GiB, and about 2 GiB in all, for this process.

    Returns:
        Whether the allocator is glibc's; another one is left as it is.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(tell(_MMAP_THRESHOLD, _LARGEST)) and bool(tell(_TRIM_THRESHOLD, _KEPT))


def return_freed_memory() -> None:
    """Give the system what is kept now. Call it before a fork: the child would hold those pages, and each would be copied when this
    process uses it again.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
