"""A step repeated from a graph is the step: on a graph of the CPU, which like a real one repeats operations and knows no Python."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.testing.fake_graph import fake_graphs
from pipeline.train.loop import Trainer
from pipeline.train.settings import TrainSettings
from tests.makers.trainings import EPOCHS, METHODS, SCHEDULE, STEPS, Killed, end, same, trainer, trainer_of


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_repeated_steps_are_the_steps_and_a_kill_leaves_no_trace(method: str, precision: str, tmp_path: Path) -> None:
    with fake_graphs() as graphs:
        whole = end(trainer(method, precision, True), tmp_path / "whole")
        assert [graph.replays for graph in graphs] == [EPOCHS * STEPS]
        with pytest.raises(Killed):
            end(trainer(method, precision, True), tmp_path / "killed", kill=STEPS + 1)
        resumed = end(trainer(method, precision, True), tmp_path / "killed")
        assert same(whole, resumed) and graphs[-1].replays == (EPOCHS - 1) * STEPS
    # One by one, with the learning rate at the same precision: a graph that cannot be had is no reason for other numbers.
    with pytest.MonkeyPatch.context() as patch, fake_graphs() as graphs:
        patch.setattr(torch.cuda, "CUDAGraph", refuse)
        one_by_one = end(trainer(method, precision, True), tmp_path / "eager")
    assert not graphs and same(whole, one_by_one)
    assert len({tuple(row) for row in whole["history"].tolist()}) == EPOCHS * STEPS


def refuse() -> None:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")


class Waits:
    """An objective that looks at a number in each step, which no graph can hold."""

    columns: tuple[str, ...] = ("clip_text",)
    terms: tuple[str, ...] = ("loss",)
    repeats = True

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        return tables

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        loss = projectors["clip"](batch["clip_text"]).square().sum(0).var()
        return {"loss": loss * (2.0 if loss.item() > 0 else 1.0)}


def waiting(waits: Waits, record: bool | None) -> Trainer:
    return trainer_of(waits, "mlp", TrainSettings(**SCHEDULE), "fp32", record)


def test_a_step_that_cannot_be_recorded_is_said_and_trained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with fake_graphs() as graphs:
        state = end(waiting(Waits(), True), tmp_path)
    assert [graph.replays for graph in graphs] == [0]
    assert "cannot be recorded as a CUDA graph" in caplog.text and "not permitted" in caplog.text
    assert state["history"].isfinite().all() and state["history"][0] != state["history"][-1]


def test_an_objective_that_does_not_say_so_is_not_repeated() -> None:
    waits = Waits()
    waits.repeats = False
    assert not waiting(waits, None).record


class OutOfMemory:
    def __call__(self, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_batch_that_does_not_fit_is_not_taken_for_a_graph_that_cannot_be_had(tmp_path: Path) -> None:
    made = trainer("cmcr", record=True)
    made._compute = OutOfMemory()  # type: ignore[method-assign]
    with fake_graphs(), pytest.raises(torch.OutOfMemoryError):
        end(made, tmp_path)
