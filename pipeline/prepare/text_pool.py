"""The pool of texts that the papers' connections are made from: public captions without those of evaluation sets.

C-MCR and Ex-MCR read the captions of COCO, AudioCaps and Clotho (training parts), of a million rows of CC3M, and of MSRVTT and
MAD, which cannot be had freely and are left out here. Which rows of CC3M they drew is not known.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path, write_text
from pipeline.hashing import sha256_file
from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import refuse_others
from pipeline.prepare.published_captions import CC3M, HELD_OUT, ROWS, TRAIN, held_out_captions

LAYOUT = (
    "at least one of "
    + ", ".join(f"`{path}`" for path in TRAIN.values())
    + " and, so that their captions are left out, "
    "those of " + ", ".join(f"`{path}`" for path in dict.fromkeys(HELD_OUT.values())) + " that there are"
)
NORMALISED = "NFKC, case folded, punctuation and repeated blanks removed"
ABOUT = "pool.json"
KEPT, NOT_DRAWN, EMPTY, DAMAGED = "kept", "not drawn", "empty", "not a caption and an address"
EXACT, ALIKE = "an evaluation caption", "an evaluation caption but for case, punctuation or blanks"


@dataclass(frozen=True)
class Pool:
    """What became of every row: counts by source and reason, and files that were read."""

    rows: dict[str, dict[str, int]]
    held_out: dict[str, int]
    missing: list[str]


def make_text_pool(root: Path, folder: Path, draw: int, seed: int) -> Pool:
    """Write ``captions.jsonl``, ``left-out.jsonl`` and ``pool.json`` to `folder`.

    Args:
        root: Folder of the publishers' files, in a folder for each set.
        folder: Where they go.
        draw: How many of the rows of CC3M that may be used are drawn.
        seed: Of that draw.

    Raises:
        UserError: None of the files is there, one is not in its published layout, or captions of somebody else are in the
            place of the pool.
    """
    if not (folder / ABOUT).exists():
        refuse_others([folder / "captions.jsonl", folder / "left-out.jsonl"])
    layout = Layout("The pool of texts", root, LAYOUT)
    there = [name for name, path in TRAIN.items() if (root / path).is_file()]
    if not there:
        raise layout.wrong(".", "holds no captions to train on")
    held_out = {
        name: list(held_out_captions(layout, name)) for name, path in HELD_OUT.items() if (root / path).is_file()
    }
    refused = _Refused(text for texts in held_out.values() for text in texts)
    counts: dict[str, Counter[str]] = {name: Counter() for name in there}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "captions.jsonl") as kept, atomic_path(folder / "left-out.jsonl") as left:
        with kept.open("w", encoding="utf-8") as captions, left.open("w", encoding="utf-8") as others:
            for name in there:
                drawn = _drawn(_usable(layout, name, refused), draw, seed) if name == CC3M else None
                for number, (key, text) in enumerate(ROWS[name](layout)):
                    why = refused.why(text)
                    if why == KEPT and drawn is not None and number not in drawn:
                        counts[name][NOT_DRAWN] += 1  # of millions: counted, not listed
                        continue
                    counts[name][why] += 1
                    row: dict[str, Any] = {"key": key, "text": text}
                    (captions if why == KEPT else others).write(
                        json.dumps(row if why == KEPT else {**row, "reason": why}, ensure_ascii=False) + "\n"
                    )
        if not any(count[KEPT] for count in counts.values()):  # an earlier pool stays as it is
            raise UserError(f"No caption below {root} may be used.", "All of them are evaluation captions, or empty.")
        # By the record the next run knows that the captions are ours; of what is not there yet it says nothing.
        write_text(folder / ABOUT, "{}\n")
    return _written(folder, root, counts, held_out, {"draw": draw, "seed": seed})


def _written(
    folder: Path,
    root: Path,
    counts: Mapping[str, Counter[str]],
    held_out: Mapping[str, list[str]],
    drawn: Mapping[str, int],
) -> Pool:
    """The pool, and its record."""
    pool = Pool(
        {name: dict(sorted(count.items(), key=lambda item: item[0] != KEPT)) for name, count in counts.items()},
        {name: len(texts) for name, texts in held_out.items()},
        sorted({*TRAIN.values(), *HELD_OUT.values()} - {*(p for p in _paths() if (root / p).is_file())}),
    )
    files = {path: sha256_file(root / path) for path in _paths() if (root / path).is_file()}
    about = {"rows": pool.rows, "held_out": pool.held_out, "normalised": NORMALISED, **drawn}
    write_text(folder / ABOUT, json.dumps({**about, "missing": pool.missing, "sha256": files}, indent=1) + "\n")
    return pool


def _paths() -> list[str]:
    return list(dict.fromkeys([*TRAIN.values(), *HELD_OUT.values()]))


class _Refused:
    """Captions of evaluation sets, as they are and normalised."""

    def __init__(self, texts: Iterator[str]) -> None:
        self.exact: set[str] = set()
        self.alike: set[str] = set()
        for text in texts:
            self.exact.add(text)
            self.alike.add(normalised(text))

    def why(self, text: str | None) -> str:
        """What becomes of a caption."""
        if text is None:
            return DAMAGED
        if not (plain := normalised(text)):
            return EMPTY
        return EXACT if text in self.exact else ALIKE if plain in self.alike else KEPT


def normalised(text: str) -> str:
    """`text` as captions are compared: two that differ in case, punctuation or blanks are one."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w\s]|_", " ", folded).split())


def _usable(layout: Layout, name: str, refused: _Refused) -> list[int]:
    return [number for number, (_, text) in enumerate(ROWS[name](layout)) if refused.why(text) == KEPT]


def _drawn(usable: list[int], draw: int, seed: int) -> set[int]:
    """Numbers of `draw` rows, or of all if there are fewer."""
    chosen = np.random.default_rng(seed).permutation(len(usable))[:draw]
    return {usable[place] for place in chosen}
