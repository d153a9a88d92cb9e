"""Training: the gradient against float64, steps from a CUDA graph, two runs equal, a killed run equal."""

import tempfile
from pathlib import Path

import torch
from torch.nn.functional import normalize

from benchmarks.gpu.rows import Step
from benchmarks.train import benchmark_link, heads_of, objective_of, random_tables, settings_of
from pipeline.precision import multiplying
from pipeline.progress import Silent
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.info_nce import kernels
from pipeline.train.info_nce.tiled import TiledInfoNCE
from pipeline.train.loop import Trainer
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling
from pipeline.train.settings import CouplingTrainSettings, ProjectorSettings
from pipeline.train.steps.draws import Draws

WIDTH, EPOCHS = 128, 3
Weights = dict[str, torch.Tensor]


class Killed(Exception):
    """Stands for SIGKILL."""


class KillAfter(Silent):
    """Ends a run after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, count: int, **seconds: float) -> None:
        """Count down."""
        self.left -= count
        if self.left < 0:
            raise Killed


# Factors of 8 bits, and their products summed in float32.
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def gradient(step: Step) -> None:
    """Largest error of the gradient of InfoNCE, against autograd in float64, as a share of its largest number; whole and in
    blocks.
    """
    count = step.size(4096, 256)
    rows = [normalize(torch.randn(count, 512, generator=torch.Generator().manual_seed(seed)), dim=1) for seed in (1, 2)]
    exact = [each.detach().to(step.device, torch.float64).requires_grad_() for each in rows]
    scores, own = exact[0] @ exact[1].T / 0.05, torch.arange(count, device=step.device)
    (torch.nn.functional.cross_entropy(scores, own) + torch.nn.functional.cross_entropy(scores.T, own)).div(
        2
    ).backward()
    for factors, limit in LIMITS.items():
        for name, elements in (("", count**2), (" in blocks", count * (count // 3))):
            first, second = (each.clone().to(step.device).requires_grad_() for each in rows)
            with multiplying():
                TiledInfoNCE.apply(first, second, 0.05, factors, elements).backward()
            pairs = zip((first, second), exact, strict=True)
            errors = [(one.grad.double() - other.grad).abs().max() / other.grad.abs().max() for one, other in pairs]
            kind = str(factors).removeprefix("torch.")
            step.at_most(f"gradient of InfoNCE, {kind}{name}: relative error", float(max(errors)), limit)
    if step.device == "cuda":
        step.holds("the kernels of InfoNCE work", kernels.work_on(first))


def trained(step: Step, precision: str, checkpoints: Path, stop: int | None = None, compiled: bool = False) -> Weights:
    """Weights after a few epochs, or an exception after `stop` steps."""
    batch = step.size(2048, 128)
    settings = settings_of(batch, WIDTH, WIDTH, compiled).model_copy(update={"epochs": EPOCHS})
    objective = objective_of(WIDTH, settings)
    tables = random_tables(batch * 4, WIDTH, step.device)
    # Generators of their own: the initial weights are equal in all runs.
    trainer = Trainer(objective, tables, heads_of(WIDTH, WIDTH, step.device), settings, Draws(0, "check"), precision)
    trainer.run(Checkpoint(checkpoints, {}), Silent() if stop is None else KillAfter(stop), "check")
    if step.device == "cuda" and stop is None:
        step.holds(f"{said(precision, compiled)}: steps come from a CUDA graph", trainer._recorded is not None)
    return {name: parameter.detach().cpu() for name, parameter in trainer.parameters.items()}


def said(precision: str, compiled: bool) -> str:
    """What the rows call it."""
    return f"{'compiled ' if compiled else ''}training in {precision}"


def reproducible(step: Step, precision: str, compiled: bool = False) -> None:
    """Two runs are equal, and so is one that was killed."""
    name = said(precision, compiled)
    with tempfile.TemporaryDirectory() as folder:
        whole = trained(step, precision, Path(folder, "a"), compiled=compiled)
        twice = equal(whole, trained(step, precision, Path(folder, "b"), compiled=compiled))
        step.holds(f"{name}: two runs are equal to the bit", twice)
        try:
            trained(step, precision, Path(folder, "c"), stop=2 * 4 + 1, compiled=compiled)
        except Killed:
            again = trained(step, precision, Path(folder, "c"), compiled=compiled)
        step.holds(f"{name}: a killed run ends with the same bits", equal(whole, again))


def coupled(step: Step) -> None:
    """Method coupling draws rows and an order within its step."""
    settings = CouplingTrainSettings(projector=ProjectorSettings(hidden=64, dimension=64), epochs=12, batch_size=128)
    link = benchmark_link()
    objective = Coupling(link, dict.fromkeys(link.spaces, 64), settings)
    rows = tuple(random_tables(512, 64, step.device).values())
    partners = torch.arange(512, dtype=torch.int32, device=step.device)[:, None].expand(512, 4)
    objective._coupled = Coupled((rows[1], rows[3]), (partners, partners), (rows[0], rows[2]))
    items = {"item": torch.arange(1024, device=step.device)}
    trainer = Trainer(objective, items, heads_of(64, 64, step.device), settings, Draws(0, "check"), "bf16")
    with tempfile.TemporaryDirectory() as folder:
        trainer.run(Checkpoint(Path(folder), {}), Silent(), "check")
    step.holds("coupling: the loss falls", bool(trainer.history[-8:, 0].mean() < trainer.history[:8, 0].mean()))
    if step.device == "cuda":
        step.holds("coupling: steps come from a CUDA graph", trainer._recorded is not None)


def equal(first: Weights, second: Weights) -> bool:
    """Whether all numbers are the same."""
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def main() -> None:
    """Check."""
    step = Step.of_arguments()
    torch.use_deterministic_algorithms(True, warn_only=True)
    gradient(step)
    for precision in ("fp32", "bf16"):
        reproducible(step, precision)
    coupled(step)


if __name__ == "__main__":
    main()
