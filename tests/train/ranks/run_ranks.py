"""What tests/train/ranks/test_ranks.py starts N times, as torchrun would: trainings by this rank alone and by all together.

Rank 0 prints, as JSON, how far the two are from each other.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.errors import McrError
from pipeline.progress import Silent
from pipeline.train import losses
from pipeline.train.loop import Trainer
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling
from pipeline.train.methods.exmcr import ExMCR
from pipeline.train.methods.joint import JointCoupling
from pipeline.train.methods.oracle import Oracle
from pipeline.train.methods.textme import TextME
from pipeline.train.ranks.join import joined
from pipeline.train.ranks.together import ALONE, Ranks, acting_as
from pipeline.train.settings import (
    CouplingTrainSettings,
    JointTrainSettings,
    LeafTrainSettings,
    ScheduleSettings,
    TextMESettings,
    TrainSettings,
)
from pipeline.train.steps.draws import Draws
from tests.makers.links import make_link

WIDTHS = {"clip": 14, "clap": 10}
LINK, LEAF = make_link(), make_link(base="clip")
ROWS = 29
COLUMNS = ("clip_text", "clip_image", "clap_text", "clap_audio")


class Foreign:
    """A method that does all that a plug-in might: it centres by the batch, looks at weights, and draws numbers of its own."""

    columns = COLUMNS
    terms: tuple[str, ...] = ("loss", "pull", "size")

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        return tables

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        made = {name: projectors[name.split("_")[0]](rows) for name, rows in batch.items()}
        centred = {name: nn.functional.normalize(rows - rows.mean(0), dim=1) for name, rows in made.items()}
        pull = symmetric_info_nce(centred["clip_image"], centred["clap_audio"], 0.1)
        again = projectors["clip"](batch["clip_text"] + 0.1 * torch.randn((), generator=generator))
        kept = torch.rand(len(again), generator=generator) < 0.7
        size = sum(weight.square().sum() for head in projectors.values() for weight in head.parameters())
        far = torch.cdist(again[kept], made["clap_text"][kept]).logsumexp(0).mean()
        return {"loss": pull + far + 0.01 * size, "pull": pull, "size": torch.as_tensor(size)}


def schedule(batch: int, epochs: int, **changed: Any) -> dict[str, Any]:
    return {"batch_size": batch, "epochs": epochs, "learning_rate": 1e-3, "warmup_steps": 2, **changed}


def rows(count: int, width: int, seed: int) -> Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(drawn, dim=1).to(torch.get_default_dtype())


def coupled() -> Coupled:
    partners = tuple(
        torch.randint(ROWS, (ROWS, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
        for seed in (1, 2)
    )
    samples, texts = ((rows(ROWS, 14, seed), rows(ROWS, 10, seed + 1)) for seed in (5, 7))
    return Coupled(samples, (partners[0], partners[1]), texts)


def objective_of(method: str, settings: Any) -> Any:
    kinds = {"cmcr": CMCR, "oracle": Oracle, "coupling": Coupling}
    if method in kinds:
        made = kinds[method](LINK, WIDTHS, settings)
    elif method == "joint":
        made = JointCoupling([LINK], WIDTHS, settings)
    elif method == "foreign":
        return Foreign()
    else:
        made = {"exmcr": ExMCR, "excoupling": Coupling, "textme": TextME}[method](LEAF, WIDTHS, settings)
    if isinstance(made, Coupling):
        made._coupled = coupled()
    if isinstance(made, JointCoupling):
        made._coupled = [coupled()]
    return made


# method: settings, kind of projector
METHODS: dict[str, tuple[type[ScheduleSettings], str]] = {
    "cmcr": (TrainSettings, "mlp"),
    "exmcr": (LeafTrainSettings, "decoupled"),
    "coupling": (CouplingTrainSettings, "mlp"),
    "excoupling": (CouplingTrainSettings, "decoupled"),
    "joint": (JointTrainSettings, "mlp"),
    "oracle": (TrainSettings, "linear"),
    "textme": (TextMESettings, "mlp_gelu"),
    "foreign": (TrainSettings, "mlp"),
}


def train(method: str, precision: str = "fp32", **changed: Any) -> Trainer:
    kind, head = METHODS[method]
    settings = kind(**schedule(**{"batch": 9, "epochs": 2, **changed}))
    spaces = ("clap",) if head in ("decoupled", "mlp_gelu") else ("clip", "clap")
    specs = {space: ProjectorSpec(kind=head, input=WIDTHS[space], hidden=12, dimension=14) for space in spaces}
    heads = {space: build_projector(spec).to(torch.get_default_dtype()) for space, spec in specs.items()}
    objective = objective_of(method, settings)
    if method in ("coupling", "excoupling", "joint"):
        tables = {name: torch.arange(ROWS) % (2 * ROWS) for name in objective.columns}
    else:
        tables = {name: rows(ROWS, WIDTHS[name.split("_")[0]], seed) for seed, name in enumerate(COLUMNS)}
    made = Trainer(objective, tables, heads, settings, Draws(0, "x"), precision)
    for projector in heads.values():
        projector.train()
    for epoch in range(settings.epochs):
        made._epoch(epoch, Silent())
    return made


def outputs(made: Trainer) -> dict[str, Tensor]:
    """What the projectors make of rows of their space in training, where BatchNorm takes the batch's own mean away."""
    found = {}
    for space, projector in made.projectors.items():
        # A divided projector divides in any case; one that was just loaded does not.
        spec = ProjectorSpec(kind=METHODS_OF[type(projector).__name__], input=WIDTHS[space], hidden=12, dimension=14)
        fresh = build_projector(spec).to(torch.get_default_dtype()).train()
        fresh.load_state_dict(projector.state_dict())
        found[space] = fresh(rows(ROWS, WIDTHS[space], 3)).detach()
    return found


# A shift that the BatchNorm behind it takes away again, and the mean that it takes.
SHIFTS = re.compile(r"(net\d?\.0\.bias|mlp1\.net2\.1\.bias|running_mean)$")
METHODS_OF = {
    "MlpProjector": "mlp",
    "LinearProjector": "linear",
    "GeluMlpProjector": "mlp_gelu",
    "DecoupledProjector": "decoupled",
}
CASES: dict[str, dict[str, Any]] = {
    **{f"{method}, 50 steps": {"method": method, "epochs": 17} for method in ("cmcr", "exmcr", "coupling")},
    **{method: {"method": method} for method in ("excoupling", "joint", "oracle", "textme", "foreign")},
    "one pass for each input": {"method": "cmcr", "batch_statistics": "separate", "optimizer": "adam"},
    "a batch of two": {"method": "exmcr", "batch": 2, "epochs": 1},
    "all in one batch": {"method": "coupling", "batch": ROWS, "epochs": 3},
    "blocks of one row": {"method": "cmcr", "block": 9},
    "blocks of two rows": {"method": "exmcr", "block": 18},
    "cmcr, 50 steps in fp32": {"method": "cmcr", "epochs": 17, "dtype": torch.float32},
    "cmcr in bf16": {"method": "cmcr", "dtype": torch.float32, "precision": "bf16"},
}


def compare(member: Ranks, method: str, dtype: torch.dtype = torch.float64, block: int = 0, **changed: Any) -> dict:
    torch.set_default_dtype(dtype)
    whole = losses.BLOCK["cpu"]
    with acting_as(ALONE):
        alone = train(method, **changed)
    losses.BLOCK["cpu"] = block or whole
    with acting_as(member):
        together = train(method, **changed)
        member.check_equal(together.state.tensors())
    losses.BLOCK["cpu"] = whole
    before, after = alone.state.tensors(), together.state.tensors()
    assert before.keys() == after.keys()
    far = {name: float((before[name].double() - after[name].double()).abs().max()) for name in before}
    made, expected = outputs(together), outputs(alone)
    return {
        "steps": alone.steps,
        "losses": float((alone.history - together.history).abs().div(alone.history.abs().clamp_min(1)).max()),
        "weights": max(value for name, value in far.items() if name.startswith("weights.")),
        "but shifts": max(
            value for name, value in far.items() if name.startswith("weights.") and not SHIFTS.search(name)
        ),
        "moved": float((before["history"][0] - before["history"][-1]).abs().max()),
        "outputs": max(float((made[space] - expected[space]).abs().max()) for space in made),
    }


def said(action: Any) -> str:
    try:
        action()
    except McrError as error:
        return f"{type(error).__name__} {error.exit_code}: {error.message}"
    return ""


def main() -> None:
    torch.set_num_threads(1)
    with joined() as member:
        found: dict[str, Any] = {"cases": {name: compare(member, **case) for name, case in CASES.items()}}
        mine = {"link": {"train": {"epochs": 5 + member.rank}}}
        found["other settings"] = said(lambda: member.check_same(mine))
        found["same settings"] = said(lambda: member.check_same({"link": 5}))
        numbers = torch.arange(3.0)
        numbers[1] += 1e-6 * member.rank
        found["other numbers"] = said(lambda: member.check_equal({"fine": torch.ones(2), "clip.bias": numbers}))
        share = member.share(5)
        found["gathered"] = member.gather(torch.arange(5)[share], 5).tolist()
        found["told"] = member.told(lambda: member.rank + 7)
        every: list[Any] = [None] * member.size
        torch.distributed.all_gather_object(every, found)
        if member.writes:
            print(json.dumps(every))
        torch.distributed.barrier()
        if member.rank == member.size - 1:
            os._exit(9)  # as if it were killed
        lost = said(lambda: member.sum(torch.ones(3)))
        print(json.dumps({"lost": lost}), flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
