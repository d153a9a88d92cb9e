"""Small trainings of every method on random pairs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.progress import Silent
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling
from pipeline.train.methods.exmcr import ExMCR
from pipeline.train.methods.freebind import FreeBind
from pipeline.train.methods.joint import JointCoupling
from pipeline.train.methods.oracle import Oracle
from pipeline.train.methods.textme import TextME
from pipeline.train.objective import Objective
from pipeline.train.settings import (
    CouplingTrainSettings,
    FreeBindSettings,
    JointTrainSettings,
    LeafTrainSettings,
    ScheduleSettings,
    TextMESettings,
    TrainSettings,
)
from pipeline.train.steps.draws import Draws
from tests.makers.links import make_link

WIDTHS = {"clip": 14, "clap": 10}
LINK = make_link()
LEAF_LINK = LINK.model_copy(update={"base": "clip"})
ROWS, EPOCHS, STEPS = 26, 4, 3
SCHEDULE = {"epochs": EPOCHS, "batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 2}


def rows(count: int, width: int, seed: int) -> Tensor:
    return nn.functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


TABLES = {
    name: rows(ROWS, WIDTHS[name.split("_")[0]], seed)
    for seed, name in enumerate(("clip_text", "clip_image", "clap_text", "clap_audio"))
}


def coupled() -> Coupled:
    partners = torch.arange(ROWS, dtype=torch.int32)[:, None].expand(ROWS, 3)
    samples, texts = ((rows(ROWS, 14, seed), rows(ROWS, 10, seed + 1)) for seed in (5, 7))
    return Coupled(samples, (partners, partners), texts)


def coupling(settings: CouplingTrainSettings) -> Coupling:
    objective = Coupling(LINK, WIDTHS, settings)
    objective._coupled = coupled()
    return objective


def joint(settings: JointTrainSettings) -> JointCoupling:
    objective = JointCoupling([LINK], WIDTHS, settings)
    objective._coupled = [coupled()]
    return objective


def freebind(settings: FreeBindSettings) -> FreeBind:
    objective = FreeBind(LEAF_LINK.model_copy(update={"sets": ("overlap", "leaf")}), WIDTHS, settings)
    objective._tables = dict(TABLES)
    return objective


# Objective and kind of projector; each with the defaults of its settings otherwise.
METHODS: dict[str, tuple[Callable[..., Objective], type[ScheduleSettings], str]] = {
    "cmcr": (lambda settings: CMCR(LINK, WIDTHS, settings), TrainSettings, "mlp"),
    "exmcr": (lambda settings: ExMCR(LINK, WIDTHS, settings), LeafTrainSettings, "decoupled"),
    "oracle": (lambda settings: Oracle(LINK, WIDTHS, settings), TrainSettings, "linear"),
    "coupling": (coupling, CouplingTrainSettings, "mlp"),
    "joint": (joint, JointTrainSettings, "mlp"),
    "freebind": (freebind, FreeBindSettings, "mixture"),
    "textme": (lambda settings: TextME(LEAF_LINK, WIDTHS, settings), TextMESettings, "mlp_gelu"),
}
# With the authors' margins, few of so small a batch of random rows have a negative.
CHANGED: dict[str, dict[str, object]] = {"textme": {"easiest": -99.0, "hardest": 99.0}}
LEAVES = ("decoupled", "mixture", "mlp_gelu")  # kinds whose base stays as it is


class Killed(Exception):
    """Stands for SIGKILL."""


class KillAt(Silent):
    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, count: int, **seconds: float) -> None:
        self.left -= count
        if self.left < 0:
            raise Killed


def trainer(method: str, precision: str = "fp32", record: bool = False, **settings: object) -> Trainer:
    """A training of `method` that has not begun."""
    make, kind_of_settings, head = METHODS[method]
    made = kind_of_settings(**SCHEDULE, **CHANGED.get(method, {}), **settings)
    return trainer_of(make(made), head, made, precision, record)


def trainer_of(
    objective: Objective, kind: str, settings: ScheduleSettings, precision: str, record: bool | None
) -> Trainer:
    """The same of an `objective`."""
    members = {"members": len(objective.columns)} if kind == "mixture" else {}
    heads = {
        space: build_projector(ProjectorSpec(kind=kind, input=WIDTHS[space], hidden=12, dimension=14, **members))
        for space in (("clap",) if kind in LEAVES else ("clip", "clap"))
    }
    picked = {column: torch.arange(ROWS) for column in objective.columns if column not in TABLES}
    return Trainer(objective, {**TABLES, **picked}, heads, settings, Draws(0, "x"), precision, record)


def end(made: Trainer, folder: Path, kill: int | None = None) -> dict[str, Tensor]:
    """All numbers after its last step; `Killed` after step `kill`."""
    made.run(Checkpoint(folder, {}), Silent() if kill is None else KillAt(kill), "x")
    return made.state.tensors()


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether both are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())
