"""The compiled step (`train.compile`): its gradient against float64, equal runs, and time and kernels beside the uncompiled one's."""

import copy
import logging
from collections.abc import Callable, Mapping
from unittest.mock import patch

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.rows import Step
from benchmarks.gpu.synchronisation import without_waiting
from benchmarks.gpu.training import WIDTH, reproducible
from benchmarks.train import heads_of, measure, objective_of, our_step, random_tables, settings_of
from pipeline.precision import multiplying
from pipeline.train.loop import Trainer
from pipeline.train.steps.arithmetic import layers_in
from pipeline.train.steps.compiled import OPTIONS
from pipeline.train.steps.draws import Draws


def main() -> None:
    """Check, then measure."""
    logging.basicConfig(level=logging.WARNING)
    step = Step.of_arguments()
    torch.use_deterministic_algorithms(True, warn_only=True)
    for precision in ("fp32", "bf16"):
        if not gradient(step, precision):
            return
    reproducible(step, "bf16", compiled=True)
    torch.use_deterministic_algorithms(False)
    speed(step)


def gradient(step: Step, precision: str) -> bool:
    """Error of the gradient of all weights against the same step in float64; False where nothing can be compiled."""
    batch = step.size(2048, 128)
    tables = random_tables(batch, WIDTH, step.device)
    made = {}
    for compiled in (False, True):
        settings = settings_of(batch, WIDTH, WIDTH, compiled)
        heads = heads_of(WIDTH, WIDTH, step.device)
        made[compiled] = Trainer(objective_of(WIDTH, settings), tables, heads, settings, Draws(0, "check"), precision)
    if not made[True].compiled:
        report = step.skipped if step.device == "cpu" else lambda check, why: step.holds(check, False, why)
        report("the step is compiled", "it cannot be: the log says why")
        return False
    seed = lambda: torch.Generator(step.device).manual_seed(1)  # noqa: E731
    objective = objective_of(WIDTH, settings)
    drawn = objective.draw(tables, seed())
    wide = [{name: each.double() for name, each in given.items()} for given in (tables, drawn)]
    exact = {space: copy.deepcopy(head).double() for space, head in made[False].projectors.items()}
    wanted = slopes(exact, objective.loss_terms(exact, *wide)["loss"])
    errors = {}
    for compiled, trainer in made.items():
        with multiplying(), layers_in(precision, trainer.device):
            loss = trainer._loss_terms(trainer.projectors, tables, seed())["loss"]
        errors[compiled] = float((slopes(trainer.projectors, loss) - wanted).norm() / wanted.norm())
    step.measured(f"gradient of a step, {precision}: relative error", f"{errors[False]:.2g}")
    step.at_most(f"gradient of a compiled step, {precision}: relative error", errors[True], 2 * errors[False])
    return True


def slopes(heads: Mapping[str, nn.Module], loss: torch.Tensor) -> torch.Tensor:
    """The gradients of all weights, one after the other."""
    loss.backward()
    return torch.cat([weight.grad.double().flatten() for head in heads.values() for weight in head.parameters()])


def speed(step: Step) -> None:
    """A step of 4,096: uncompiled, compiled, and with independent kernels of both spaces combined by torch."""
    batch, width, hidden = (128, 64, 64) if step.small else (4096, 512, 1024)
    calls, repeats = step.size(10, 1), step.size(5, 1)
    row = measure(step.device, batch, width, hidden, repeats, "bf16", calls=calls, compiled=True)
    figure = f"{row['compiled_ms']:.2f} ms, uncompiled {row['ours_ms']:.2f} ms"
    step.measured(f"compiled training step of {batch:,} in bf16", figure)
    tables = random_tables(batch * 4, width, step.device)
    for kind, options in (("", None), ("compiled ", {}), ("combined ", {"combo_kernels": True})):
        with patch.dict(OPTIONS, options or {}):
            work = our_step(tables, batch, width, hidden, step.device, "bf16", compiled=options is not None)
            count, milliseconds = launched(step, work)
        name = f"{kind}training step of {batch:,} in bf16"
        step.measured(
            f"{name}: {'kernels' if step.device == 'cuda' else 'operations'}", f"{count}, {milliseconds:.2f} ms in them"
        )
        without_waiting(step, name, work)


def launched(step: Step, work: Callable[[], None]) -> tuple[int, float]:
    """How many kernels a call of `work` runs, copies included, and their time in ms; on a CPU operations of torch."""
    work()
    step.wait()
    cuda = step.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
        work()
        step.wait()
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    found = [event for event in seen.events() if event.device_type == kind and not event.is_user_annotation]
    return len(found), sum(event.device_time if cuda else event.self_cpu_time_total for event in found) / 1e3


if __name__ == "__main__":
    main()
