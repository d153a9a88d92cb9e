"""The training loop: tables resident on the device, batches picked by index, state that survives a kill."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import McrError
from pipeline.hashing import seed_from
from pipeline.precision import multiplying
from pipeline.progress import Progress
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.objective import Objective
from pipeline.train.schedule import learning_rate
from pipeline.train.settings import ScheduleSettings

log = logging.getLogger(__name__)

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Draws:
    """Where the randomness of a run comes from: every purpose and epoch has a generator of its own.

    Attributes:
        seed: Seed of the run.
        connection: Name of the connection.
    """

    seed: int
    connection: str

    def generator(self, purpose: str, *, epoch: int = 0, device: str = "cpu") -> torch.Generator:
        """A fresh generator for `purpose` in `epoch`."""
        return torch.Generator(device).manual_seed(seed_from(self.seed, self.connection, purpose, epoch))


class Trainer:
    """Trains the projectors of one connection.

    Args:
        objective: The method.
        tables: Its columns, N rows each, on the training device.
        projectors: By space, on the training device.
        settings: Schedule and optimiser.
        draws: Source of the batches' order and of the noise.
    """

    def __init__(
        self,
        objective: Objective,
        tables: dict[str, Tensor],
        projectors: dict[str, nn.Module],
        settings: ScheduleSettings,
        draws: Draws,
    ) -> None:
        self.objective = objective
        self.tables = objective.prepare(tables)
        self.projectors = projectors
        self.settings = settings
        self.draws = draws
        table = next(iter(self.tables.values()))
        self.rows, self.device = len(table), table.device
        self.steps_per_epoch = self.rows // settings.batch_size
        self.steps = self.steps_per_epoch * settings.epochs
        self.parameters = {
            f"{space}.{name}": parameter
            for space, projector in projectors.items()
            for name, parameter in projector.named_parameters()
        }
        self.optimizer = OPTIMIZERS[settings.optimizer](
            list(self.parameters.values()),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        # Per step the terms of the loss, kept on the device: reading them out at every step would stall it.
        self.history = torch.zeros(self.steps, len(objective.terms), device=self.device)

    def run(self, checkpoint: Checkpoint, progress: Progress, name: str) -> int:
        """Train to the end from the newest checkpoint; return the number of epochs that were computed now.

        Raises:
            McrError: The loss is not a finite number.
        """
        found = checkpoint.load()
        done = 0
        if found:
            done, tensors = found
            self._restore(tensors)
            log.info("%s: continues after epoch %d of %d", name, done, self.settings.epochs)
        progress.start(f"train {name}", self.steps, "steps")
        progress.advance(done * self.steps_per_epoch)
        for projector in self.projectors.values():
            projector.train()
        for epoch in range(done, self.settings.epochs):
            self._epoch(epoch, progress)
            self._check_finite(epoch)
            if (epoch + 1) % self.settings.checkpoint_every == 0 and epoch + 1 < self.settings.epochs:
                checkpoint.save(epoch + 1, self._state())
        return self.settings.epochs - done

    def rate(self, step: int) -> float:
        """Learning rate of `step`."""
        return learning_rate(step, self.steps, self.settings.learning_rate, self.settings.warmup_steps)

    def _epoch(self, epoch: int, progress: Progress) -> None:
        batch_size = self.settings.batch_size
        order = torch.randperm(self.rows, generator=self.draws.generator("order", epoch=epoch)).to(self.device)
        noise = self.draws.generator("noise", epoch=epoch, device=str(self.device))
        # What is left after the last whole batch is dropped: a batch of few rows would disturb BatchNorm.
        for number in range(self.steps_per_epoch):
            picked = order[number * batch_size : (number + 1) * batch_size]
            batch = {column: self.tables[column].index_select(0, picked) for column in self.objective.columns}
            self.step(epoch * self.steps_per_epoch + number, batch, noise)
            progress.advance(1)

    @multiplying()
    def step(self, step: int, batch: dict[str, Tensor], noise: torch.Generator) -> None:
        """One step of the optimiser on `batch`, rows [B, D] by column."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        terms = self.objective(self.projectors, batch, noise)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["loss"])
        self.optimizer.step()
        self.history[step] = torch.stack([terms[name].detach() for name in self.objective.terms])

    def _check_finite(self, epoch: int) -> None:
        start = epoch * self.steps_per_epoch
        broken = ~self.history[start : start + self.steps_per_epoch].isfinite().all(dim=1)
        if broken.any():
            raise McrError(
                f"The loss is not finite from step {start + int(broken.nonzero()[0])} of {self.steps} on.",
                "Lower train.learning_rate or raise the temperatures; the last good checkpoint is kept.",
            )

    def _state(self) -> dict[str, Tensor]:
        state = {
            f"weights.{space}.{name}": tensor
            for space, projector in self.projectors.items()
            for name, tensor in projector.state_dict().items()
        }
        for name, parameter in self.parameters.items():
            for entry, tensor in self.optimizer.state[parameter].items():
                state[f"optimizer.{name}.{entry}"] = tensor
        return {**state, "history": self.history}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for space, projector in self.projectors.items():
            projector.load_state_dict({name: tensors[f"weights.{space}.{name}"] for name in projector.state_dict()})
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = {
                entry: tensors[f"optimizer.{name}.{entry}"].to(self.device)
                for entry in ("step", "exp_avg", "exp_avg_sq")
            }
        self.history.copy_(tensors["history"])
