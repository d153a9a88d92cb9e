"""The bridge has nothing to train: what the retrieve stage made becomes the files of a connected space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.connect.bridge import MEANS_NAME, texts_name
from pipeline.connect.config import CONFIG_NAME
from pipeline.files.atomic import atomic_path
from pipeline.hashing import sha256_file
from pipeline.train.fit import TrainResult
from pipeline.train.link import LinkJob
from pipeline.train.tables import joined_spaces


def keep_bridge(job: LinkJob) -> TrainResult:
    """Write texts, means and temperatures beside the configuration, a part at a time.

    Raises:
        UserError: The pairs were made for another method or link.
    """
    config = job.config(joined_spaces(job.stores, job.link, job.method.name), {})
    texts, means = job.stores
    for stale in (*job.replaces, job.output / CONFIG_NAME):
        stale.unlink(missing_ok=True)
    job.output.mkdir(parents=True, exist_ok=True)
    job.progress.start(f"train {job.link.label}", len(texts), "texts")
    for space in job.link.spaces:
        column, start = job.link.overlap_column(space), 0
        with atomic_path(job.output / texts_name(space)) as temporary:
            shape = len(texts), config.spaces[space].dimension
            table = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                temporary, mode="w+", dtype=np.float32, shape=shape
            )
            for part, rows in texts.parts([column]):
                table[start : start + part.rows] = rows.vectors[column]
                start += part.rows
            table.flush()
            del table
    made: Mapping[str, Any] = means.manifest.fingerprint
    solved = made["solved"]
    tensors = {f"{space}.temperature": torch.tensor(solved[f"profile_{space}"]) for space in job.link.spaces}
    for part in means.manifest.parts:
        rows = means.read_part(part)
        for column, vectors in rows.vectors.items():
            space, _, kind = column.rpartition("_")
            for key, vector in zip(rows.keys, vectors, strict=True):
                tensors[f"{space}.{key.removeprefix(f'{space}_')}.{kind}"] = torch.from_numpy(vector.copy())
    with atomic_path(job.output / MEANS_NAME) as temporary:
        save_file(tensors, temporary)
    names = (MEANS_NAME, *(texts_name(space) for space in job.link.spaces))
    files = {name: sha256_file(job.output / name) for name in names}
    config.model_copy(update={"files": files}).save(job.output)
    return TrainResult(pairs=len(texts), used=0, epochs=0, computed=0, steps=0)
