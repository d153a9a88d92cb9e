"""The training loop: batches picked by index from resident tables, state that survives a kill."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.optimizers import Adam, AdamW
from pipeline.precision import multiplying
from pipeline.progress import Progress
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.objective import Objective
from pipeline.train.ranks.divided import divide
from pipeline.train.ranks.together import ranks
from pipeline.train.schedule import learning_rate
from pipeline.train.settings import ScheduleSettings
from pipeline.train.steps.arithmetic import layers_in
from pipeline.train.steps.batches import Batches
from pipeline.train.steps.compiled import LossTerms, NotCompiled, compiled
from pipeline.train.steps.draws import Draws
from pipeline.train.steps.recorded import RecordedStep
from pipeline.train.steps.state import TrainingState

log = logging.getLogger(__name__)

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {"adamw": AdamW, "adam": Adam}


class Trainer:
    """Trains the projectors of one connection, by this process alone or as one of `ranks()`.

    Attributes:
        state: What a checkpoint holds.
        compiled: Whether steps are compiled, where the settings ask for it.
        not_compiled: Why they are not, although the settings ask for it.

    Args:
        objective: The method.
        tables: Its columns, N rows each, on the training device or, where they do not fit, on the CPU.
        projectors: By space, on the training device.
        settings: Schedule and optimiser.
        draws: Source of the batches' order and of the noise.
        precision: ``fp32`` or ``bf16``, see `pipeline.train.steps.arithmetic`.
        record: Whether steps are repeated from a CUDA graph; by default on a GPU, for objectives that allow it.
    """

    def __init__(
        self,
        objective: Objective,
        tables: dict[str, Tensor],
        projectors: dict[str, nn.Module],
        settings: ScheduleSettings,
        draws: Draws,
        precision: str = "fp32",
        record: bool | None = None,
    ) -> None:
        self.objective = objective
        self.ranks = ranks()
        self.projectors = projectors
        self.settings = settings
        self.draws = draws
        self.precision = precision
        self.parameters = {
            f"{space}.{name}": parameter
            for space, projector in projectors.items()
            for name, parameter in projector.named_parameters()
        }
        for projector in projectors.values():
            divide(projector, self.ranks)
        self.device = next(iter(self.parameters.values())).device
        self.batches = Batches(objective.prepare(tables), objective.columns, self.device)
        self.steps_per_epoch = self.batches.rows // settings.batch_size
        self.steps = self.steps_per_epoch * settings.epochs
        self.noise = draws.generator("noise", device=str(self.device))
        on_gpu = self.device.type == "cuda"
        repeats = getattr(objective, "repeats", False) and on_gpu and self.ranks.alone
        self.record = repeats if record is None else record
        self._recorded: RecordedStep | None = None
        self.optimizer = OPTIMIZERS[settings.optimizer](
            list(self.parameters.values()),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
            capturable=self.record and on_gpu,
        )
        # A graph reads the learning rate where it lies; elsewhere a number of Python keeps the bits of earlier versions.
        self._rate = torch.zeros((), device=self.device) if self.record else None
        self._loss_terms: LossTerms = objective
        self.not_compiled: NotCompiled | None = None
        if settings.compile:
            first = self.batches.pick(torch.arange(settings.batch_size, device=self.batches.place))
            found = compiled(objective, projectors, first, precision, self.ranks)
            if isinstance(found, NotCompiled):
                self.not_compiled = found
            else:
                self._loss_terms = found
        self.compiled = self._loss_terms is not objective
        # Per step the terms of the loss, kept on the device: reading them out at every step would stall it.
        self.history = torch.zeros(self.steps, len(objective.terms), device=self.device)
        self.state = TrainingState(projectors, self.parameters, self.optimizer, self.history)

    def run(self, checkpoint: Checkpoint, progress: Progress, name: str) -> int:
        """Train to the end from the newest checkpoint; return the number of epochs that were computed now.

        Raises:
            UserError: The loss is not a finite number.
        """
        found = self.ranks.told(lambda: checkpoint.load(self.not_compiled))
        if self.not_compiled:
            log.warning(
                "The step of the training cannot be compiled (%s); it runs uncompiled, which is slower on a GPU.",
                self.not_compiled.reason,
            )
        done = 0
        if found:
            done, tensors = found
            self.state.restore(tensors)
            log.info("%s: continues after epoch %d of %d", name, done, self.settings.epochs)
        progress.start(f"train {name}", self.steps, "steps")
        progress.advance(done * self.steps_per_epoch)
        for projector in self.projectors.values():
            projector.train()
        for epoch in range(done, self.settings.epochs):
            self._epoch(epoch, progress)
            self._check_finite(epoch)
            self.ranks.check_equal(self.state.tensors())
            last = epoch + 1 == self.settings.epochs
            if self.ranks.writes and (epoch + 1) % self.settings.checkpoint_every == 0 and not last:
                checkpoint.save(epoch + 1, self.state.tensors())
        return self.settings.epochs - done

    def rate(self, step: int) -> float:
        """Learning rate of `step`."""
        return learning_rate(step, self.steps, self.settings.learning_rate, self.settings.warmup_steps)

    def _epoch(self, epoch: int, progress: Progress) -> None:
        size = self.settings.batch_size
        order = self.batches.order(self.draws.generator("order", epoch=epoch, device=str(self.device)))
        self.noise.manual_seed(self.draws.seed_of("noise", epoch))
        # What is left after the last whole batch is dropped: a batch of few rows would disturb BatchNorm.
        for number in range(self.steps_per_epoch):
            batch = self.batches.pick(order[number * size : (number + 1) * size])
            self.step(epoch * self.steps_per_epoch + number, batch)
            progress.advance(1)

    def step(self, step: int, batch: Mapping[str, Tensor]) -> None:
        """One step of the optimiser on `batch`, rows [B, D] by column."""
        rate = self.rate(step) if self._rate is None else self._rate.fill_(self.rate(step))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.record and self._recorded is None:
            self._begin_recording(batch)
        if self._recorded is None:
            self.history[step] = self._compute(batch)
            return
        for name, rows in self._recorded.batch.items():
            if rows is not batch[name]:
                rows.copy_(batch[name])
        self.history[step] = self._recorded()

    @multiplying()
    def _compute(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Move the weights by `batch`; the terms of its loss [T]."""
        with layers_in(self.precision, self.device):
            terms = self._loss_terms(self.projectors, batch, self.noise)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["loss"])
        self.optimizer.step()
        return torch.stack([terms[name].detach() for name in self.objective.terms])

    def _begin_recording(self, batch: Mapping[str, Tensor]) -> None:
        try:
            self._recorded = RecordedStep(self._compute, batch, self.state.moving, self.noise)
            self.batches.into(self._recorded.batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.record = False
            seed = self.noise.initial_seed()
            self.noise = self.draws.generator("noise", device=str(self.device)).manual_seed(seed)
            log.warning(
                "The steps cannot be recorded as a CUDA graph (%s); they run kernel by kernel, which is slower.",
                str(error).splitlines()[0],
            )

    def _check_finite(self, epoch: int) -> None:
        start = epoch * self.steps_per_epoch
        broken = ~self.history[start : start + self.steps_per_epoch].isfinite().all(dim=1)
        if broken.any():
            raise UserError(
                f"The loss is not finite from step {start + int(broken.nonzero()[0])} of {self.steps} on.",
                "Lower train.learning_rate or raise the temperatures, and train again; other settings start from the first step.",
            )
