"""A step repeated from a graph is the step: on a graph of the CPU, which like a real one repeats operations and knows no Python."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.progress import Silent
from pipeline.testing.fake_graph import fake_graphs
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling
from pipeline.train.methods.exmcr import ExMCR
from pipeline.train.methods.oracle import Oracle
from pipeline.train.objective import Objective
from pipeline.train.settings import CouplingTrainSettings, LeafTrainSettings, ScheduleSettings, TrainSettings
from pipeline.train.steps.draws import Draws
from tests.makers.links import make_link

WIDTHS = {"clip": 14, "clap": 10}
LINK = make_link()
EPOCHS, STEPS = 4, 3
SCHEDULE = {"epochs": EPOCHS, "batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 2}
PLAIN, LEAF, DRAWN = TrainSettings(**SCHEDULE), LeafTrainSettings(**SCHEDULE), CouplingTrainSettings(**SCHEDULE)


def rows(count: int, width: int, seed: int) -> Tensor:
    return nn.functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


TABLES = {
    name: rows(26, WIDTHS[name.split("_")[0]], seed)
    for seed, name in enumerate(("clip_text", "clip_image", "clap_text", "clap_audio"))
}


def coupling() -> Coupling:
    objective = Coupling(LINK, WIDTHS, DRAWN)
    partners = torch.arange(26, dtype=torch.int32)[:, None].expand(26, 3)
    samples, texts = ((rows(26, 14, seed), rows(26, 10, seed + 1)) for seed in (5, 7))
    objective._coupled = Coupled(samples, (partners, partners), texts)
    return objective


METHODS = {
    "cmcr": (lambda: CMCR(LINK, WIDTHS, PLAIN), "mlp", PLAIN),
    "exmcr": (lambda: ExMCR(LINK, WIDTHS, LEAF), "decoupled", LEAF),
    "oracle": (lambda: Oracle(LINK, WIDTHS, PLAIN), "linear", PLAIN),
    "coupling": (coupling, "mlp", DRAWN),
}


class Killed(Exception):
    """Stands for SIGKILL."""


class KillAt(Silent):
    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, count: int, **seconds: float) -> None:
        self.left -= count
        if self.left < 0:
            raise Killed


def trainer(objective: Objective, kind: str, settings: ScheduleSettings, precision: str, record: bool) -> Trainer:
    spaces = ("clap",) if kind == "decoupled" else ("clip", "clap")
    heads = {
        space: build_projector(ProjectorSpec(kind=kind, input=WIDTHS[space], hidden=12, dimension=14))
        for space in spaces
    }
    tables = {"item": torch.arange(26) % 52} if isinstance(objective, Coupling) else dict(TABLES)
    return Trainer(objective, tables, heads, settings, Draws(0, "x"), precision, record)


def end(made: Trainer, folder: Path, kill: int | None = None) -> dict[str, Tensor]:
    made.run(Checkpoint(folder, {}), Silent() if kill is None else KillAt(kill), "x")
    return made._state()


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_repeated_steps_are_the_steps_and_a_kill_leaves_no_trace(method: str, precision: str, tmp_path: Path) -> None:
    make, kind, settings = METHODS[method]
    with fake_graphs() as graphs:
        whole = end(trainer(make(), kind, settings, precision, True), tmp_path / "whole")
        assert [graph.replays for graph in graphs] == [EPOCHS * STEPS]
        with pytest.raises(Killed):
            end(trainer(make(), kind, settings, precision, True), tmp_path / "killed", kill=STEPS + 1)
        resumed = end(trainer(make(), kind, settings, precision, True), tmp_path / "killed")
        assert same(whole, resumed) and graphs[-1].replays == (EPOCHS - 1) * STEPS
    # One by one, with the learning rate at the same precision: a graph that cannot be had is no reason for other numbers.
    with pytest.MonkeyPatch.context() as patch, fake_graphs() as graphs:
        patch.setattr(torch.cuda, "CUDAGraph", refuse)
        one_by_one = end(trainer(make(), kind, settings, precision, True), tmp_path / "eager")
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


def test_a_step_that_cannot_be_recorded_is_said_and_trained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with fake_graphs() as graphs:
        state = end(trainer(Waits(), "mlp", PLAIN, "fp32", True), tmp_path)
    assert [graph.replays for graph in graphs] == [0]
    assert "cannot be recorded as a CUDA graph" in caplog.text and "not permitted" in caplog.text
    assert state["history"].isfinite().all() and state["history"][0] != state["history"][-1]


def test_an_objective_that_does_not_say_so_is_not_repeated() -> None:
    waits = Waits()
    waits.repeats = False
    assert not trainer(waits, "mlp", PLAIN, "fp32", None).record  # type: ignore[arg-type]


class OutOfMemory:
    def __call__(self, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_batch_that_does_not_fit_is_not_taken_for_a_graph_that_cannot_be_had(tmp_path: Path) -> None:
    made = trainer(METHODS["cmcr"][0](), "mlp", PLAIN, "fp32", True)
    made._compute = OutOfMemory()  # type: ignore[method-assign]
    with fake_graphs(), pytest.raises(torch.OutOfMemoryError):
        end(made, tmp_path)
