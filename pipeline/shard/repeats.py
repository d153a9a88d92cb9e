"""Files that stand under several keys of an evaluation set: each would be a wrong answer for the others."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.modalities import TEXT
from pipeline.shard.findings import Repeated

log = logging.getLogger(__name__)


def check_repeats(
    repeated: Iterable[tuple[str, Repeated]], modalities: Sequence[str], allowed: bool, folder: Path
) -> None:
    """Report files of an evaluation set that stand under several keys, or refuse them.

    A corpus of one modality is none: there, copies are listed in ``_duplicates.parquet`` with every other. Equal captions
    are only counted: published protocols have those of different items as different.

    Args:
        repeated: By modality, what stands under several keys.
        modalities: Of the corpus.
        allowed: Whether items with the same file are items of their own.
        folder: Of the shards, for messages.

    Raises:
        UserError: There are some, and they are not allowed.
    """
    if len(modalities) < 2:
        return
    for modality, found in repeated:
        what = "captions" if modality == TEXT else f"{modality} files"
        said = f"{folder}: {found.keys:,} items share {found.files:,} {what} (such as {', '.join(found.example)})"
        if modality == TEXT:
            log.info("%s; they are kept, each with its item", said)
            continue
        if not allowed:
            raise UserError(
                f"{said}, so each counts as a wrong answer for the others.",
                "Rows of one item become one item with several captions by the corpus' `item_column`; where they are items "
                "of their own, as in some published sets, set its `repeated: keep`.",
            )
        log.warning("%s; they are kept as items of their own", said)
