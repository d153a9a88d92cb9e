"""The pairs of method coupling in the memory of the training device: three tables and the partners that join two of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import CorruptError, UserError
from pipeline.links import Link
from pipeline.store import Store
from pipeline.train.tables import load_tables


@dataclass(frozen=True)
class Coupled:
    """Two memories, their partners, and the overlapping modality.

    Attributes:
        samples: Embeddings of the first [N1, D1] and of the second memory [N2, D2].
        partners: For each sample of the first memory the rows of its partners in the second [N1, S], and the other way
            round [N2, S]; int32.
        overlap: The overlapping modality in the first [T, D1] and in the second space [T, D2], row by row.
    """

    samples: tuple[Tensor, Tensor]
    partners: tuple[Tensor, Tensor]
    overlap: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, store: Store, link: Link, device: str) -> "Coupled":
        """Read the tables of `store` onto `device`.

        Raises:
            UserError: The store holds no such pairs.
            CorruptError: A part is damaged, or names a partner that is not there.
        """
        columns = [link.memory_column(space) for space in link.spaces]
        views = [of_kind(store, column) for column in columns]
        samples = [load_tables([view], [name], device)[name] for view, name in zip(views, columns, strict=True)]
        partners = [
            _partners(view, name, len(other), device)
            for view, name, other in zip(views, columns[::-1], samples[::-1], strict=True)
        ]
        names = [link.overlap_column(space) for space in link.spaces]
        hop = link.overlapping_memory
        held = dict(zip(columns, samples, strict=True))  # An overlapping memory is not held twice.
        missing = [name for name in names if name not in held]
        held |= load_tables([of_kind(store, link.memory_column(hop) if hop else link.overlap)], missing, device)
        return cls((samples[0], samples[1]), (partners[0], partners[1]), (held[names[0]], held[names[1]]))

    @staticmethod
    def rows(store: Store, column: str) -> int:
        """Samples of the memory with the column `column`."""
        return len(of_kind(store, column))


def of_kind(store: Store, kind: str) -> Store:
    """The parts of `store` that hold `kind`: a memory's column or the overlapping modality.

    Raises:
        UserError: There are none.
    """
    parts = tuple(part for part in store.manifest.parts if part.file_name.startswith(f"{kind}-"))
    if not parts:
        raise UserError(f"{store.folder} holds no {kind}.", "Run the retrieve stage of this connection again.")
    return Store(store.folder, replace(store.manifest, parts=parts))


def items_per_epoch(counts: Sequence[int]) -> int:
    """Both directions have the same number of items: a smaller memory comes round more often."""
    return 2 * max(counts)


def _partners(store: Store, column: str, count: int, device: str) -> Tensor:
    settings = store.manifest.fingerprint["settings"]
    assert isinstance(settings, dict)
    names = [f"{column}_draw_{number:02d}" for number in range(settings["draws"])]
    tables = [np.stack([rows.numbers[name] for name in names], 1) for _, rows in store.parts(names)]
    table = np.concatenate(tables)
    if table.min() < 0 or table.max() >= count:
        raise CorruptError(
            f"{store.folder} names a partner that is not among the {count} rows of {column}.",
            "Remove the folder and run its stage again.",
        )
    return torch.from_numpy(table).to(device)
