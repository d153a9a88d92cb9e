"""Profiles of a whole memory, made in parts of their own: a kill costs the one in work, and whoever needs them reads them.

They lie beside the pairs only while those are made. A part holds as many rows as any aggregation takes at a time, or a multiple: so
the numbers are those of one aggregation over all, to the bit.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import McrError
from pipeline.hashing import sha256_json
from pipeline.progress import Progress, Silent
from pipeline.retrieve.profiles import Profiles, profile
from pipeline.store import PAIRS, Made, PartFolder, Rows, Source, Store, Work, run_parts, write_rows
from pipeline.store.lock import HeldError
from pipeline.store.parts.names import numbered

log = logging.getLogger(__name__)

# Rows of a part: a multiple of the queries that a CPU and a GPU take at a time (`pipeline.retrieve.memory.products`, `fused`).
WINDOW = 65_536


@dataclass(frozen=True)
class Asked:
    """What profiles are made from.

    Attributes:
        keys: Of the samples.
        samples: [N, D].
        texts: [T, D], what they are compared with.
        there: The texts in the other space [T, D2].
        temperature: Of the softmax.
    """

    keys: Sequence[str]
    samples: Tensor
    texts: Tensor
    there: Tensor
    temperature: float

    def profiles(self, rows: slice = slice(None)) -> Profiles:
        """Those of some of the samples."""
        return profile(self.samples[rows], self.texts, self.there, self.temperature)


def profiles_in_parts(asked: Asked, folder: Path, made_from: Mapping[str, object], arithmetic: str) -> Profiles:
    """The profiles, read from `folder` where they are, and made there where they are not.

    Args:
        asked: What they are made from.
        folder: Where their parts go.
        made_from: All that decides the numbers beside the temperature and the kind of device.
        arithmetic: That kind, and the precision.
    """
    # Through JSON, as it will be read.
    identity = json.loads(json.dumps({**made_from, "temperature": asked.temperature, "window": WINDOW}))
    starts = range(0, len(asked.samples), WINDOW)
    source = Source(sha256_json(identity))
    works = [
        Work(f"part-{numbered(number)}.parquet", source, partial(_write, asked, slice(start, start + WINDOW)))
        for number, start in enumerate(starts)
    ]
    if not (found := _finished(folder, identity, arithmetic)):
        try:
            with PartFolder(folder, PAIRS, identity, arithmetic) as parts:
                run_parts(parts, works, "", "samples", Silent())
                parts.finish(0.0)
        except HeldError:
            # Another process makes the same for itself; to wait for it would be as long.
            log.info("%s is being made by another process", folder)
            return asked.profiles()
        found = Store.open(folder, PAIRS)
    rows = found.read()
    device = asked.samples.device
    neighbours, top_score = (
        torch.from_numpy(rows.numbers[name]).float().to(device) for name in ("neighbours", "top_score")
    )
    return Profiles(torch.from_numpy(rows.vectors["profile"]).to(device), neighbours, top_score)


def _finished(folder: Path, identity: Mapping[str, object], arithmetic: str) -> Store | None:
    try:
        store = Store.open(folder, PAIRS)
    except McrError:
        return None
    same = store.manifest.fingerprint == identity
    return store if same and all(part.arithmetic == arithmetic for part in store.manifest.parts) else None


def _write(asked: Asked, rows: slice, path: Path, progress: Progress) -> Made:
    made = asked.profiles(rows)
    numbers = {name: getattr(made, name).double().cpu().numpy() for name in ("neighbours", "top_score")}
    keys = list(asked.keys[rows])
    digest = write_rows(path, Rows(keys, {"profile": made.vectors.cpu().numpy()}, numbers), {"kind": PAIRS})
    return Made(keys, sha256=digest)
