"""Train the projectors of one link, or continue, or find that nothing is to do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.connect.centred import CENTRES_NAME, save_centres
from pipeline.connect.config import CONFIG_NAME, PROJECTOR_NAME, ConnectionConfig, load_config
from pipeline.connect.projectors import build_projector
from pipeline.connect.weights import save_projectors
from pipeline.errors import McrError, UserError
from pipeline.hashing import sha256_file
from pipeline.precision import arithmetic_of, dtype_of
from pipeline.progress import Progress
from pipeline.store import Store
from pipeline.store.differences import differences
from pipeline.train.checkpoint import COMPILED, Checkpoint
from pipeline.train.history import HISTORY_NAME, write_history
from pipeline.train.loop import Trainer
from pipeline.train.memory import file_bytes, place_for, table_bytes
from pipeline.train.objective import Centring, Objective, OwnTables
from pipeline.train.ranks.together import Ranks, ranks
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
            were given other settings or data.
        McrError: The loss is not a finite number.
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
    if among.told(lambda: _finished(output, config, settings.precision)):
        if among.writes:
            checkpoint.remove()
        return TrainResult(pairs, used, settings.epochs, 0, per_epoch * settings.epochs)
    if not per_epoch:
        places = ", ".join(str(store.folder) for store in job.stores)
        raise UserError(
            f"{places} holds {pairs} pairs, less than one batch of {settings.batch_size}.",
            f"Set train.batch_size of {name} to {pairs} or less, or retrieve more pairs.",
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
        _write(job, output, trainer, arithmetic)
        checkpoint.remove()
    return TrainResult(pairs, used, settings.epochs, computed, trainer.steps)


def _write(job: Job, output: Path, trainer: Trainer, arithmetic: str) -> None:
    """The files of a finished training; the configuration is the last of them."""
    config, objective, projectors = job.config, job.objective, trainer.projectors
    save_projectors(output / PROJECTOR_NAME, projectors)
    rates = [trainer.rate(step) for step in range(trainer.steps)]
    write_history(output / HISTORY_NAME, objective.terms, trainer.history.cpu().numpy(), trainer.steps_per_epoch, rates)
    names = [PROJECTOR_NAME, HISTORY_NAME]
    if isinstance(objective, Centring):
        save_centres(output, objective.centres)
        names.append(CENTRES_NAME)
    files = {file: sha256_file(output / file) for file in names}
    links = tuple(link.model_copy(update={"arithmetic": arithmetic}) for link in config.links)
    config.model_copy(update={"files": files, "links": links}).save(output)


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


def _finished(output: Path, config: ConnectionConfig, precision: str) -> bool:
    """Whether `output` holds the intact result of `config`; if it holds another one, the log says why it is stale.

    What is complete stays valid on another kind of device; `precision` is compared where it is not ``auto``.
    """
    if not (output / CONFIG_NAME).is_file():
        return False
    try:
        found = load_config(output)
    except McrError as error:
        log.info("%s is trained again: %s", output, error.message)
        return False
    before, now = (each.identity() for each in (found, config))
    reasons = differences(before, now)
    _, made, *_ = found.links[0].arithmetic.split() or ("", "fp32")
    if precision not in ("auto", made):
        reasons.append(f"train.precision changed ({made} -> {precision})")
    if list(found.spaces) != list(config.spaces):
        reasons.append("the order of the spaces changed")
    for name, digest in found.files.items():
        if not (output / name).is_file() or sha256_file(output / name) != digest:
            reasons.append(f"{name} is missing or damaged")
    if reasons:
        log.info("%s is trained again: %s", output, "; ".join(reasons))
        return False
    log.info("%s is up to date: nothing to train", output)
    return True


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
