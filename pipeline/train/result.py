"""The files of a finished training: how they are written, and whether those that are there still hold."""

import logging
from pathlib import Path

from pipeline.connect.centred import CENTRES_NAME, save_centres
from pipeline.connect.config import CONFIG_NAME, PROJECTOR_NAME, ConnectionConfig, load_config
from pipeline.connect.weights import save_projectors
from pipeline.errors import McrError
from pipeline.hashing import sha256_file
from pipeline.store.differences import differences
from pipeline.train.history import HISTORY_NAME, write_history
from pipeline.train.loop import Trainer
from pipeline.train.objective import Centring, Objective

log = logging.getLogger(__name__)


def write_result(
    output: Path, config: ConnectionConfig, objective: Objective, trainer: Trainer, arithmetic: str
) -> None:
    """Write what a training came to: weights, history and, last, the configuration, which says how it was computed."""
    save_projectors(output / PROJECTOR_NAME, trainer.projectors)
    rates = [trainer.rate(step) for step in range(trainer.steps)]
    write_history(output / HISTORY_NAME, objective.terms, trainer.history.cpu().numpy(), trainer.steps_per_epoch, rates)
    names = [PROJECTOR_NAME, HISTORY_NAME]
    if isinstance(objective, Centring):
        save_centres(output, objective.centres)
        names.append(CENTRES_NAME)
    files = {file: sha256_file(output / file) for file in names}
    links = tuple(link.model_copy(update={"arithmetic": arithmetic}) for link in config.links)
    config.model_copy(update={"files": files, "links": links}).save(output)


def finished(output: Path, config: ConnectionConfig, precision: str) -> bool:
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
