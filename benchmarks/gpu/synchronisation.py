"""No step of the training and no block of the aggregation waits for the device."""

from collections.abc import Callable

import torch

from benchmarks.gpu.rows import Step
from benchmarks.train import our_step, random_tables
from pipeline.retrieve.memory.aggregate import aggregate


def main() -> None:
    """Run both with every synchronisation forbidden; on a CPU, where none can happen, they just run."""
    step = Step.of_arguments()
    batch = step.size(2048, 128)
    tables = random_tables(4 * batch, 128, step.device)
    train = our_step(tables, batch, 128, 128, step.device)
    rows = next(iter(tables.values())).half()
    works = {"a training step": train, "an aggregation": lambda: aggregate(rows, rows, (rows,), 0.05)}
    for name, work in works.items():
        work()
        without_waiting(step, name, work)


def without_waiting(step: Step, name: str, work: Callable[[], None]) -> None:
    """Whether it runs with every synchronisation forbidden; on a CPU, where none can happen, it just runs."""
    check = f"{name} never waits for the device"
    if step.device == "cpu":
        work()
        step.skipped(check, "a CPU has none to wait for")
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
        step.holds(check, True)
    except RuntimeError as error:
        step.holds(check, False, str(error).splitlines()[0])
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
