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
        column, shape = job.link.overlap_column(space), (len(texts), config.spaces[space].dimension)
        # Written, not mapped: where the disk fills up, a write says so and a mapped page ends the process.
        with atomic_path(job.output / texts_name(space)) as temporary, open(temporary, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            for _, rows in texts.parts([column]):
                file.write(np.ascontiguousarray(rows.vectors[column], "<f4").data)
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
