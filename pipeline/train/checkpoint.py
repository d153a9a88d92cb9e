"""Checkpoints: a killed run continues and ends with the bytes that it would have had."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import TryAgainError, UserError
from pipeline.files.atomic import LEFTOVER, atomic_path
from pipeline.files.os_errors import explained
from pipeline.files.reading import retried
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file
from pipeline.store.differences import differences
from pipeline.train.steps.compiled import NotCompiled
from pipeline.train.steps.draws import FIRST_DRAWS

log = logging.getLogger(__name__)

STATE_NAME = "state.json"
_OWN = re.compile(rf"epoch-\d+\.safetensors|{re.escape(STATE_NAME)}")
CPU = "cpu fp32"  # what states count as that do not say
COMPILED = "compiled"  # what the arithmetic of a compiled step says last


class Checkpoint:
    """The newest state of a run in a folder of its own: tensors in safetensors, the rest in JSON.

    `state.json` is written last and names the tensors' file, so a kill at any moment leaves the previous state whole.

    Args:
        folder: Where the state goes.
        identity: All that decides the course of the run; a state of another identity is not used.
        arithmetic: Kind of device and precision, see `pipeline.precision.arithmetic_of`.
        draws: Which order and noise, see `pipeline.train.steps.draws.draws_version`.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], arithmetic: str = CPU, draws: int = FIRST_DRAWS
    ) -> None:
        self.folder = folder
        self.arithmetic = arithmetic
        self.draws = draws
        self.identity = json.loads(json.dumps(identity))

    def save(self, epoch: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the state after `epoch` epochs in place of the one before."""
        path = self.folder / f"epoch-{epoch:05d}.safetensors"
        with atomic_path(path) as temporary:
            plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(plain, temporary, metadata={"epoch": str(epoch)})
            digest = sha256_file(temporary)
        state = {
            "identity": self.identity,
            "arithmetic": self.arithmetic,
            "draws": self.draws,
            "epoch": epoch,
            "file": path.name,
            "sha256": digest,
        }
        write_sealed(self.folder / STATE_NAME, state)
        for other in self._own():
            if other.name not in (path.name, STATE_NAME):
                other.unlink()

    def begun_with(self) -> str | None:
        """The arithmetic of the state that `load` would give; None where it would start from scratch."""
        try:
            state = read_sealed(self.folder / STATE_NAME)
            return None if self._unusable(state) else state.get("arithmetic", CPU)
        except (FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError):
            return None  # `load` says it

    def load(self, not_compiled: NotCompiled | None = None) -> tuple[int, dict[str, Tensor]] | None:
        """Epochs done and tensors of the newest state; None if it cannot be used, with the reason in the log.

        Args:
            not_compiled: Why this run does not compile, if it was to.

        Raises:
            UserError: It was made on another kind of device, whose last bits differ, or with another order and noise, or compiled.
            TryAgainError: It was made compiled, for which the machine lacks room now.
        """
        if not (self.folder / STATE_NAME).is_file():
            return None
        try:
            state = read_sealed(self.folder / STATE_NAME)
            reasons = self._unusable(state)
            if not reasons:
                self._refuse_mixture(state.get("arithmetic", CPU), int(state.get("draws", FIRST_DRAWS)), not_compiled)
                return int(state["epoch"]), retried(lambda: load_file(self.folder / state["file"]))
        except FileNotFoundError as error:
            reasons = [f"{error.filename} is missing"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            # Hours of work are not given up because a disk stumbled.
            if said := explained(error, self.folder):
                raise said from error
            reasons = [f"it cannot be read ({error})"]
        log.info("%s is not used, training starts from scratch: %s", self.folder, "; ".join(reasons))
        return None

    def _unusable(self, state: Mapping[str, Any]) -> list[str]:
        """Why a run of this identity cannot continue from `state`."""
        if reasons := differences(state["identity"], self.identity):
            return reasons
        path = self.folder / state["file"]
        if sha256_file(path) != state["sha256"]:
            return [f"{path.name} is damaged"]
        if (epoch := _epoch_in(path)) not in (None, state["epoch"]):
            return [f"{path.name} is that of epoch {epoch}, {STATE_NAME} says {state['epoch']}"]
        return []

    def _refuse_mixture(self, made: str, draws: int, not_compiled: NotCompiled | None) -> None:
        if not_compiled and made == f"{self.arithmetic} {COMPILED}":
            kind = TryAgainError if not_compiled.retry else UserError
            raise kind(
                f"{self.folder} holds a training begun compiled, and its step cannot be compiled now ({not_compiled.reason}).",
                "Put that right and run the same command again, or remove that folder to train from scratch.",
            )
        if made != self.arithmetic:
            raise UserError(
                f"{self.folder} holds a training begun with {made}; this run computes with {self.arithmetic}.",
                f"Finish it with {made} (run.device and train.precision in params.yaml), or remove that folder to train from "
                "scratch.",
            )
        if draws != self.draws:
            raise UserError(
                f"{self.folder} holds a training begun by another version of mcr-connect, whose order of pairs and noise differ.",
                "Finish it with that version, or remove that folder to train from scratch.",
            )

    def remove(self) -> None:
        """Remove the state, since the run is finished. Files of somebody else stay, and the folder with them.

        Raises:
            OSError: The system refuses; the next run tries again.
        """
        if not self.folder.is_dir():
            return
        for path in self._own():
            path.unlink(missing_ok=True)
        if left := sorted(path.name for path in self.folder.iterdir()):
            log.warning(
                "%s holds files that no training made and that are left alone: %s", self.folder, ", ".join(left)
            )
        elif not self.folder.is_symlink():
            self.folder.rmdir()

    def _own(self) -> list[Path]:
        patterns = (_OWN, LEFTOVER)
        return [path for path in self.folder.iterdir() if any(each.fullmatch(path.name) for each in patterns)]


def _epoch_in(path: Path) -> int | None:
    """The epoch that the file of tensors itself says; None of one that an earlier version wrote."""
    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get("epoch")
    return None if said is None else int(said)
