"""The connected space of the made-up method: nothing is trained, and each space has its captions as coordinates."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projected import checked_file
from pipeline.hashing import sha256_file
from pipeline.settings import Settings
from pipeline.train.fit import TrainResult
from pipeline.train.link import LinkJob
from pipeline.train.tables import joined_spaces

NAME = "landmarks.safetensors"


class LandmarkTrainSettings(Settings):
    """Nothing to set."""


def keep(job: LinkJob) -> TrainResult:
    """Write the captions of both spaces beside the configuration."""
    config = job.config(joined_spaces(job.stores, job.link, job.method.name), {})
    rows = job.stores[0].read().vectors
    job.output.mkdir(parents=True, exist_ok=True)
    tables = {space: torch.from_numpy(rows[job.link.overlap_column(space)]) for space in job.link.spaces}
    save_file(tables, job.output / NAME)
    config.model_copy(update={"files": {NAME: sha256_file(job.output / NAME)}}).save(job.output)
    return TrainResult(pairs=len(job.stores[0]), used=0, epochs=0, computed=0, steps=0)


class Landmarks:
    """See `Connected`."""

    def __init__(self, config: ConnectionConfig, folder: Path, device: str) -> None:
        [link] = config.links
        path = checked_file(config, folder, config.file_of(link.name, NAME))
        self._tables = {space: table.to(device) for space, table in load_file(path).items()}
        self.dimension = len(next(iter(self._tables.values())))

    def __call__(self, space: str, rows: Tensor, modality: str | None) -> Tensor:
        """Cosines with the captions, as unit rows."""
        return normalize(rows @ self._tables[space].T, dim=-1)
