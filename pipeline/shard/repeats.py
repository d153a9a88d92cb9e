"""Files that stand under several keys of an evaluation set: each would be a wrong answer for the others."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.modalities import TEXT

log = logging.getLogger(__name__)


def repeated_files(contents: Iterable[tuple[str, str, str]]) -> dict[str, list[list[str]]]:
    """By modality, the keys of each file, or caption, that stands under several.

    Args:
        contents: Key, modality and hash of each member.
    """
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, modality, digest in contents:
        keys[modality, digest].append(key)
    found: dict[str, list[list[str]]] = {}
    for (modality, _), several in keys.items():
        if len(several) > 1:
            found.setdefault(modality, []).append(sorted(several))
    return found


def check_repeats(
    contents: Iterable[tuple[str, str, str]], modalities: Sequence[str], allowed: bool, folder: Path
) -> None:
    """Report files of an evaluation set that stand under several keys, or refuse them.

    A corpus of one modality is none: there, copies are listed in ``_duplicates.parquet`` with every other. Equal captions
    are only counted: published protocols have those of different items as different.

    Args:
        contents: Key, modality and hash of each member.
        modalities: Of the corpus.
        allowed: Whether items with the same file are items of their own.
        folder: Of the shards, for messages.

    Raises:
        UserError: There are some, and they are not allowed.
    """
    if len(modalities) < 2:
        return
    for modality, groups in sorted(repeated_files(contents).items()):
        count = sum(map(len, groups))
        what = "captions" if modality == TEXT else f"{modality} files"
        said = f"{folder}: {count:,} items share {len(groups):,} {what} (such as {', '.join(groups[0][:3])})"
        if modality == TEXT:
            log.info("%s; they are kept, each with its item", said)
            continue
        if not allowed:
            raise UserError(
                f"{said}, so that each is a wrong answer for the others.",
                "Rows of one item become one item with several captions by the corpus' `item_column`; where they are items "
                "of their own, as in some published sets, set its `repeated: keep`.",
            )
        log.warning("%s; they are kept as items of their own", said)
