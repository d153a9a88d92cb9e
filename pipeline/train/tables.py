"""What the pairs of a link say about its spaces, and their tables in the memory of the training device."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.links import Link
from pipeline.store import Store

HINT = "Run the retrieve stage of this connection again."


def joined_spaces(stores: Sequence[Store], link: Link, method: str) -> dict[str, dict[str, Any]]:
    """By space, in the order of `link`: what the embedding stores say about it.

    Raises:
        UserError: The pairs do not say what they are, or were made for another method or from other spaces.
    """
    found = [_spaces(store, link, method) for store in stores]
    for store, spaces in zip(stores, found, strict=True):
        if spaces != found[0]:
            raise UserError(f"{stores[0].folder} and {store.folder} were made from different spaces.", HINT)
    return found[0]


def _spaces(store: Store, link: Link, method: str) -> dict[str, dict[str, Any]]:
    made: Mapping[str, Any] = store.manifest.fingerprint
    if missing := [name for name in ("method", "spaces", "memories") if name not in made]:
        raise UserError(f"{store.folder} does not record its {', '.join(missing)}.", HINT)
    if made["method"] != method:
        raise UserError(f"The pairs were made for {made['method']}, the connection asks for {method}.", HINT)
    if made.get("set") and made["set"] != store.folder.name:
        raise UserError(f"{store.folder} holds pairs of the set {made['set']}.", HINT)
    spaces: dict[str, dict[str, Any]] = made["spaces"]
    if set(link.spaces) != set(spaces):
        raise UserError(f"{store.folder} joins {', '.join(spaces)}, the connection {', '.join(link.spaces)}.", HINT)
    wanted = link.overlap, {space: memory.modality for space, memory in link.memories.items()}
    if (made.get("overlap") or "", made["memories"]) != wanted:
        raise UserError(f"{store.folder} was made from other modalities than the connection names.", HINT)
    return {space: spaces[space] for space in link.spaces}


def load_tables(
    stores: Sequence[Store], columns: Sequence[str], device: str, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Load `columns` of `stores`, one after the other, onto `device`, part by part, as tables [N, D] of `dtype`.

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
                tables[name] = torch.empty(total, matrix.shape[1], dtype=dtype, device=device)
            tables[name][start : start + len(matrix)] = matrix
        start += part.rows
    return tables
