"""Whether a training fits the memory, said before it reads anything."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.store import Store
from pipeline.store.parquet import read_widths
from pipeline.store.parts.file import part_bytes, part_file

log = logging.getLogger(__name__)

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def table_bytes(stores: Sequence[Store], columns: Sequence[str], dtype: torch.dtype = torch.float32) -> int:
    """What `columns` of all `stores` take in `dtype`.

    Raises:
        CorruptError: A part is damaged.
    """
    total = 0
    for store in stores:
        first = store.manifest.parts[:1]
        widths = next(
            (read_widths(path) for path in (part_file(store.folder, part) for part in first) if path.is_file()), {}
        )
        total += len(store) * sum(widths.get(name, 0) for name in columns) * dtype.itemsize
    return total


def file_bytes(stores: Sequence[Store]) -> int:
    """What all columns of `stores` take, nearly: parts are not compressed."""
    return sum(part_bytes(store.folder, part) for store in stores for part in store.manifest.parts)


def place_for(name: str, tables: int, step: int, device: str, streams: bool, processes: int = 1) -> str:
    """Where the tables of the training `name` go: `device`, or ``cpu`` where they do not fit, to be streamed from there.

    Args:
        name: What is trained.
        tables: Bytes of the tables.
        step: Bytes of a step, about.
        device: Where it is trained.
        streams: Whether its batches can be streamed.
        processes: How many on this computer do the same, each on a GPU of its own if on any.

    Raises:
        UserError: They fit nowhere.
    """
    if device == "cpu":
        tables, step = tables * processes, step * processes
    free = free_bytes(device)
    if free is None or tables + step <= free:
        return device
    said = (
        f"The tables of {name} take {tables / 1e9:,.1f} GB and a step about {step / 1e9:,.1f} GB, "
        f"and {free / 1e9:,.1f} GB are free on {device}"
    )
    room = free_bytes("cpu")
    if device != "cpu" and streams and step <= free and (room is None or tables * processes <= room):
        log.warning("%s: the tables stay in host memory and batches are copied, which is slower.", said)
        return "cpu"
    what = "lower train.batch_size" if step > free else "take fewer queries"
    raise UserError(f"{said}.", f"End other programs there, {what}, or set run.device to one with more memory.")


def free_bytes(device: str) -> int | None:
    """Memory that a program can have on `device` now; None where the system does not say."""
    if torch.device(device).type == "cuda":
        # What tensors of the link before left behind, torch keeps for those that come; the driver counts it as used.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    said = [free for free in (_free_of_machine(), _free_of_container()) if free is not None]
    return min(said, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _free_of_container() -> int | None:
    """Room below the limit of a control group; cached files make way, so they count as free."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(stat["inactive_file"])
    except (OSError, KeyError, ValueError):
        return None
