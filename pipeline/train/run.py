"""The `train` stage for methods that give each of two spaces a projector (C-MCR, the oracle)."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.connect.config import ConnectionConfig
from pipeline.connect.projectors import ProjectorSpec
from pipeline.progress import Progress, Silent
from pipeline.store import PAIRS, Store
from pipeline.train.fit import CODE_VERSION, Job, TrainResult, fit
from pipeline.train.layout import Layout
from pipeline.train.methods import build_objective
from pipeline.train.settings import CouplingTrainSettings, TrainSettings


def train_connection(
    pairs: Path,
    output: Path,
    connection: str,
    method: str,
    settings: TrainSettings | CouplingTrainSettings,
    *,
    spaces: Sequence[str] = (),
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainResult:
    """Train the projectors of one connection, or continue, or find that nothing is to do.

    Equal inputs, seed and number of threads give equal bytes on the same kind of device, also after a kill.

    Args:
        pairs: Folder of the pseudo-pairs.
        output: Folder for ``projector.safetensors``, ``history.parquet`` and, last, ``config.json``.
        connection: Name of the connection; part of every seed.
        method: A key of `METHODS`.
        settings: Objective and schedule.
        spaces: The connection's order of its spaces; the first that embeds a modality becomes its default.
        seed: Seed of initial weights, order and noise.
        threads: CPU threads, which the order of additions depends on.
        device: Where to train, such as ``cpu`` or ``cuda:0``.
        progress: Receives the steps.

    Raises:
        UserError: Pairs missing, made for another method, or fewer than one batch.
        McrError: The loss is not a finite number.
    """
    store = Store.open(pairs, PAIRS)
    layout = Layout.of(store, spaces)
    objective = build_objective(method, layout, settings)
    config = _config(layout, settings, connection, store.content_hash, seed, threads)
    job = Job(config, objective, settings, settings.projector.init, (store,))
    return fit(job, output, device, progress or Silent())


def _config(
    layout: Layout,
    settings: TrainSettings | CouplingTrainSettings,
    connection: str,
    pairs: str,
    seed: int,
    threads: int,
) -> ConnectionConfig:
    head = settings.projector
    return ConnectionConfig.model_validate(
        {
            "code": CODE_VERSION,
            "connection": connection,
            "method": layout.method,
            "spaces": layout.spaces,
            "overlap": layout.overlap,
            "memories": {space: layout.memories[space] for space in layout.spaces},
            "projectors": {
                space: ProjectorSpec(
                    kind=head.kind, input=layout.dimension(space), hidden=head.hidden, dimension=head.dimension
                )
                for space in layout.spaces
            },
            # How often a checkpoint is written changes no number: with another value the result stays valid.
            "train": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
            "pairs": pairs,
            "seed": seed,
            "threads": threads,
        }
    )
