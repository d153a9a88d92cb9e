"""What a folder of pseudo-pairs holds, and its tables in the memory of the training device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.store import Store


@dataclass(frozen=True)
class Layout:
    """Roles of the columns of the pseudo-pairs.

    Attributes:
        method: Method that the pairs were made for.
        spaces: What the embedding stores say about each space, in the connection's order.
        overlap: The overlapping modality; empty for the oracle.
        memories: By space, the modality of the pseudo-partner (C-MCR) or of the true partner (oracle).
    """

    method: str
    spaces: dict[str, dict[str, Any]]
    overlap: str
    memories: dict[str, str]

    @classmethod
    def of_all(cls, stores: Sequence[Store], order: Sequence[str]) -> "Layout":
        """The layout that `stores` share.

        Raises:
            UserError: They were not made for the same link; see also `of`.
        """
        layouts = [cls.of(store, order) for store in stores]
        for store, layout in zip(stores, layouts, strict=True):
            if layout != layouts[0]:
                message = f"{stores[0].folder} and {store.folder} were made from different spaces or modalities."
                raise UserError(message, "Run the retrieve stage of this connection again.")
        return layouts[0]

    @classmethod
    def of(cls, store: Store, order: Sequence[str] = ()) -> "Layout":
        """Read the layout from the fingerprint of `store`.

        Args:
            store: The pseudo-pairs.
            order: The connection's order of the spaces, which the sorted fingerprint does not keep.

        Raises:
            UserError: The pairs do not say what they are, or join other spaces than `order`.
        """
        fingerprint: Mapping[str, Any] = store.manifest.fingerprint
        missing = [name for name in ("method", "spaces", "memories") if name not in fingerprint]
        if missing:
            message = f"{store.folder} does not say its {', '.join(missing)}."
            raise UserError(message, "Run the retrieve stage of this connection again.")
        spaces = fingerprint["spaces"]
        if order and set(order) != set(spaces):
            raise UserError(
                f"{store.folder} joins {', '.join(spaces)}, the connection {', '.join(order)}.",
                "Run the retrieve stage of this connection again.",
            )
        return cls(
            fingerprint["method"],
            {name: spaces[name] for name in order or spaces},
            fingerprint.get("overlap") or "",
            dict(fingerprint["memories"]),
        )

    def dimension(self, space: str) -> int:
        """Width of the embeddings of `space`."""
        return int(self.spaces[space]["dimension"])

    def overlap_column(self, space: str) -> str:
        """Column of the overlapping modality as `space` embeds it."""
        return f"{space}_{self.overlap}"

    def memory_column(self, space: str) -> str:
        """Column of the pseudo-partners in `space`."""
        return f"{space}_{self.memories[space]}"


def load_tables(stores: Sequence[Store], columns: Sequence[str], device: str) -> dict[str, Tensor]:
    """Load `columns` of `stores`, one after the other, onto `device`, part by part, as tables [N, D] float32.

    Everything is resident: picking a batch is an index, no loader and no worker is involved.

    Raises:
        CorruptError: A part is damaged or lacks a column.
    """
    tables: dict[str, Tensor] = {}
    start = 0
    total = sum(len(store) for store in stores)
    for part, rows in chain.from_iterable(store.parts(columns) for store in stores):
        for name in columns:
            matrix = torch.from_numpy(rows.vectors[name])
            if name not in tables:
                tables[name] = torch.empty(total, matrix.shape[1], device=device)
            tables[name][start : start + len(matrix)] = matrix
        start += part.rows
    return tables
