"""Rows of the tables as batches on the training device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.precision import SHORT


class Batches:
    """Batches picked by index. Tables that do not lie on the training device are streamed: the CPU gathers a batch in
    pinned memory while the device computes the one before, and the device fetches it from there. Rows that are held in 16 bits
    are float32 in a batch.

    Attributes:
        rows: N.

    Args:
        tables: N rows each, by column, all at one place.
        columns: Those that a batch has.
        device: The training device.
    """

    def __init__(self, tables: Mapping[str, Tensor], columns: Sequence[str], device: torch.device) -> None:
        self.tables = {name: tables[name] for name in columns}
        first = next(iter(self.tables.values()))
        self.rows, self.place, self.device = len(first), first.device, device
        self.streamed = first.device.type != device.type
        self._into: Mapping[str, Tensor] = {}
        self._pinned: list[dict[str, Tensor]] = []
        self._copied: list[torch.cuda.Event] = []
        self._turn = 0

    def order(self, generator: torch.Generator) -> Tensor:
        """All rows in a new order [N], drawn on the training device wherever the tables are: it is the same order."""
        return torch.randperm(self.rows, generator=generator, device=self.device).to(self.place)

    def into(self, batch: Mapping[str, Tensor]) -> None:
        """Put all further batches there."""
        self._into = batch

    def pick(self, rows: Tensor) -> Mapping[str, Tensor]:
        """Rows `rows` [B] of every column."""
        if self.streamed:
            return self._copy(rows)
        if not self._into:
            return {name: _wide(table.index_select(0, rows)) for name, table in self.tables.items()}
        for name, table in self.tables.items():
            if table.dtype in SHORT:
                self._into[name].copy_(table.index_select(0, rows))
            else:
                torch.index_select(table, 0, rows, out=self._into[name])
        return self._into

    def _copy(self, rows: Tensor) -> Mapping[str, Tensor]:
        if not self._pinned:
            for _ in range(2):
                self._pinned.append(
                    {
                        name: torch.empty(
                            len(rows), *table.shape[1:], dtype=table.dtype, pin_memory=torch.cuda.is_available()
                        )
                        for name, table in self.tables.items()
                    }
                )
                self._copied.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        self._turn = 1 - self._turn
        buffers, copied = self._pinned[self._turn], self._copied[self._turn]
        copied.synchronize()  # of the batch before the last one; one that was never recorded does not wait
        batch = self._into or {
            name: torch.empty_like(rows, dtype=_wide(rows[:0]).dtype, device=self.device)
            for name, rows in buffers.items()
        }
        for name, table in self.tables.items():
            torch.index_select(table, 0, rows, out=buffers[name])
            # Where types differ, they become others on the device: on the way to it they would on the CPU.
            there = buffers[name].to(self.device, non_blocking=True) if table.dtype in SHORT else buffers[name]
            batch[name].copy_(there, non_blocking=True)
        with torch.cuda.device_of(next(iter(batch.values()))):  # type: ignore[no-untyped-call]
            copied.record()
        return batch


def _wide(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in SHORT else rows
