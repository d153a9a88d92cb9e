"""Training: the gradient against float64, two runs equal, a killed run equal."""

import tempfile
from pathlib import Path

import torch
from torch.nn.functional import normalize

from benchmarks.gpu.rows import Step
from benchmarks.train import heads_of, objective_of, random_tables, settings_of
from pipeline.precision import multiplying
from pipeline.progress import Silent
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Draws, Trainer
from pipeline.train.losses import symmetric_info_nce

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


def gradient(step: Step) -> None:
    """Largest error of the gradient of InfoNCE, against autograd in float64, as a share of its largest number."""
    count = step.size(4096, 256)
    rows = [normalize(torch.randn(count, 512, generator=torch.Generator().manual_seed(seed)), dim=1) for seed in (1, 2)]
    first, second = (each.clone().to(step.device).requires_grad_() for each in rows)
    with multiplying():
        symmetric_info_nce(first, second, 0.05).backward()
    exact = [each.detach().to(step.device, torch.float64).requires_grad_() for each in rows]
    scores, own = exact[0] @ exact[1].T / 0.05, torch.arange(count, device=step.device)
    (torch.nn.functional.cross_entropy(scores, own) + torch.nn.functional.cross_entropy(scores.T, own)).div(
        2
    ).backward()
    error = (first.grad.double() - exact[0].grad).abs().max() / exact[0].grad.abs().max()
    step.at_most("gradient of InfoNCE: relative error", float(error), 1e-4)


def trained(step: Step, checkpoints: Path, stop: int | None = None) -> Weights:
    """Weights after a few epochs, or an exception after `stop` steps."""
    batch = step.size(2048, 128)
    settings = settings_of(batch, WIDTH, WIDTH).model_copy(update={"epochs": EPOCHS})
    objective = objective_of(WIDTH, settings)
    tables = random_tables(batch * 4, WIDTH, step.device)
    # Generators of their own: the initial weights are equal in all runs.
    trainer = Trainer(objective, tables, heads_of(WIDTH, WIDTH, step.device), settings, Draws(0, "check"))
    trainer.run(Checkpoint(checkpoints, {}), Silent() if stop is None else KillAfter(stop), "check")
    return {name: parameter.detach().cpu() for name, parameter in trainer.parameters.items()}


def equal(first: Weights, second: Weights) -> bool:
    """Whether all numbers are the same."""
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def main() -> None:
    """Check."""
    step = Step.of_arguments()
    torch.use_deterministic_algorithms(True, warn_only=True)
    gradient(step)
    with tempfile.TemporaryDirectory() as folder:
        whole = trained(step, Path(folder, "a"))
        step.holds("training: two runs are equal to the bit", equal(whole, trained(step, Path(folder, "b"))))
        try:
            trained(step, Path(folder, "c"), stop=2 * 4 + 1)
        except Killed:
            again = trained(step, Path(folder, "c"))
        step.holds("training: a killed run ends with the same bits", equal(whole, again))


if __name__ == "__main__":
    main()
