"""The `train` stage: pseudo-pairs go in, the projectors of one connection come out."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.connect.config import CONFIG_NAME, PROJECTOR_NAME, ConnectionConfig, load_config
from pipeline.connect.projectors import ProjectorSpec, build_projector
from pipeline.connect.weights import save_projectors
from pipeline.errors import McrError, UserError
from pipeline.hashing import sha256_file
from pipeline.progress import Progress, Silent
from pipeline.store import PAIRS, Store
from pipeline.store.folder import differences
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.history import HISTORY_NAME, write_history
from pipeline.train.layout import Layout, load_tables
from pipeline.train.loop import Draws, Trainer
from pipeline.train.methods import build_objective
from pipeline.train.settings import TrainSettings

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


def train_connection(
    pairs: Path,
    output: Path,
    connection: str,
    method: str,
    settings: TrainSettings,
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
    per_epoch = len(store) // settings.batch_size
    checkpoint = Checkpoint(output / CHECKPOINT_FOLDER, config.model_dump(mode="json"))
    if _finished(output, config):
        checkpoint.remove()
        return TrainResult(len(store), per_epoch * settings.batch_size, settings.epochs, 0, per_epoch * settings.epochs)
    if not per_epoch:
        raise UserError(
            f"{pairs} holds {len(store)} pairs, less than one batch of {settings.batch_size}.",
            f"Set train.batch_size of {connection} to {len(store)} or less, or retrieve more pairs.",
        )
    # An earlier result is no longer a result; its files are replaced one by one.
    (output / CONFIG_NAME).unlink(missing_ok=True)
    with _threads(threads):
        draws = Draws(seed, connection)
        tables = load_tables(store, objective.columns, device)
        projectors = {
            space: build_projector(spec, settings.projector.init, draws.generator(f"init {space}")).to(device)
            for space, spec in config.projectors.items()
        }
        trainer = Trainer(objective, tables, projectors, settings, draws)
        computed = trainer.run(checkpoint, progress or Silent(), connection)
    save_projectors(output / PROJECTOR_NAME, projectors)
    rates = [trainer.rate(step) for step in range(trainer.steps)]
    write_history(output / HISTORY_NAME, objective.terms, trainer.history.cpu().numpy(), per_epoch, rates)
    files = {name: sha256_file(output / name) for name in (PROJECTOR_NAME, HISTORY_NAME)}
    config.model_copy(update={"files": files}).save(output)
    checkpoint.remove()
    return TrainResult(len(store), per_epoch * settings.batch_size, settings.epochs, computed, trainer.steps)


def _config(
    layout: Layout, settings: TrainSettings, connection: str, pairs: str, seed: int, threads: int
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


def _finished(output: Path, config: ConnectionConfig) -> bool:
    """Whether `output` holds the intact result of `config`; if it holds another one, the log says why it is stale."""
    if not (output / CONFIG_NAME).is_file():
        return False
    try:
        found = load_config(output)
    except McrError as error:
        log.info("%s is trained again: %s", output, error.message)
        return False
    before, now = (json.loads(each.model_dump_json(exclude={"files"})) for each in (found, config))
    reasons = differences(before, now)
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
