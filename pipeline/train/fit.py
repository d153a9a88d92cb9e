"""Train the projectors of one link, or continue, or find that nothing is to do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.connect.config import CONFIG_NAME, ConnectionConfig
from pipeline.connect.projectors import build_projector
from pipeline.errors import UserError
from pipeline.precision import arithmetic_of, dtype_of
from pipeline.progress import Progress
from pipeline.store import Store
from pipeline.train.checkpoint import COMPILED, Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.memory import file_bytes, place_for, table_bytes
from pipeline.train.objective import Objective, OwnTables
from pipeline.train.ranks.together import Ranks, ranks
from pipeline.train.result import finished, write_result
from pipeline.train.settings import ScheduleSettings
from pipeline.train.steps.arithmetic import resolved
from pipeline.train.steps.draws import Draws, draws_version
from pipeline.train.steps.size import step_bytes
from pipeline.train.tables import load_tables

log = logging.getLogger(__name__)

# Raised when a change of the code changes the weights: earlier results are then stale.
CODE_VERSION = 1
CHECKPOINT_FOLDER = "checkpoint"


@dataclass(frozen=True)
class TrainResult:
    """What a run did.

    Attributes:
        pairs: Pseudo-pairs that it learned from.
        used: Pairs per epoch; the others are the last partial batch, another selection in every epoch.
        epochs: Epochs of the finished result.
        computed: Epochs computed by this run; 0 if the result was there.
        steps: Steps of the finished result.
    """

    pairs: int
    used: int
    epochs: int
    computed: int
    steps: int


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        config: What the result will say about itself; it decides whether an earlier one still holds.
        objective: The method.
        settings: Schedule and optimiser.
        init: Initial weights, as `build_projector` knows them.
        stores: Pseudo-pairs, taken together.
        replaces: Files that hold no longer once the training starts.
    """

    config: ConnectionConfig
    objective: Objective
    settings: ScheduleSettings
    init: str
    stores: tuple[Store, ...]
    replaces: tuple[Path, ...] = ()


def fit(job: Job, output: Path, device: str, progress: Progress) -> TrainResult:
    """Train the projectors of `job` into `output`: weights, history and, last, ``config.json``.

    As one of several `ranks()`, together with the others; only the first of them writes.

    Raises:
        UserError: There are fewer pairs than one batch, or the training was begun on another kind of device; or other ranks
            were given other settings or data; or the loss is not a finite number.
    """
    config, settings, name = job.config, job.settings, job.config.links[0].label
    objective, stores = job.objective, job.stores
    pairs = objective.rows(stores) if isinstance(objective, OwnTables) else sum(len(store) for store in stores)
    per_epoch = pairs // settings.batch_size
    used = per_epoch * settings.batch_size
    precision = resolved(settings.precision, device)
    arithmetic = arithmetic_of(device, precision)
    checkpoint = Checkpoint(output / CHECKPOINT_FOLDER, config.identity(), arithmetic, draws_version(device))
    among = ranks()
    among.check_same({**checkpoint.identity, "arithmetic": arithmetic, "torch": torch.__version__})
    if among.told(lambda: finished(output, config, settings.precision)):
        if among.writes:
            checkpoint.remove()
        return TrainResult(pairs, used, settings.epochs, 0, per_epoch * settings.epochs)
    if not per_epoch:
        places = ", ".join(str(store.folder) for store in job.stores)
        raise UserError(
            f"{places} holds {pairs} pairs, less than one batch of {settings.batch_size}.",
            f"Set train.batch_size of {name} to {pairs} or less, or retrieve more pairs."
            if pairs > 1
            else "Give the connection more data, and retrieve again.",
        )
    # An earlier result is no longer a result; its files are replaced one by one.
    for stale in (*job.replaces, output / CONFIG_NAME) if among.writes else ():
        stale.unlink(missing_ok=True)
    with _threads(config.threads):
        draws = Draws(config.seed, name)
        tables = _tables(job, device, among)
        projectors = {
            space: build_projector(spec, job.init, draws.generator(f"init {space}")).to(device)
            for space, spec in config.projectors.items()
        }
        if settings.compile and among.told(checkpoint.begun_with) == arithmetic:
            settings = settings.model_copy(update={"compile": False})
            log.warning("%s was begun uncompiled and goes on so; remove it to train compiled.", checkpoint.folder)
        trainer = Trainer(job.objective, tables, projectors, settings, draws, precision)
        if trainer.compiled:
            checkpoint.arithmetic = arithmetic = f"{arithmetic} {COMPILED}"
        computed = trainer.run(checkpoint, progress, name)
    if among.writes:
        write_result(output, config, objective, trainer, arithmetic)
        checkpoint.remove()
    return TrainResult(pairs, used, settings.epochs, computed, trainer.steps)


def _tables(job: Job, device: str, among: Ranks) -> dict[str, Tensor]:
    """The tables of the pairs, where there is room for them.

    Raises:
        UserError: There is none.
    """
    config, objective, stores, name = job.config, job.objective, job.stores, job.config.links[0].label
    step = step_bytes(config, objective, job.settings, device, among)
    if isinstance(objective, OwnTables):
        return objective.load(stores, place_for(name, file_bytes(stores), step, device, False, among.here))
    dtype = dtype_of(getattr(job.settings, "tables", "fp32"))
    size = table_bytes(stores, objective.columns, dtype)
    return load_tables(stores, objective.columns, place_for(name, size, step, device, True, among.here), dtype)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
