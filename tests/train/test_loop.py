"""What the loop hands to a method: every row at most once per epoch, another order and other noise every time."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.progress import Silent
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.loop import Trainer
from pipeline.train.settings import TrainSettings
from pipeline.train.steps.draws import Draws


class Recorder:
    """An objective that notes the rows of every batch and the noise that it draws."""

    columns: tuple[str, ...] = ("a", "b")
    terms: tuple[str, ...] = ("loss",)

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.noise: list[float] = []

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        return tables

    def __call__(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert torch.equal(batch["a"][:, 0] * 2, batch["b"][:, 0])  # Rows of one batch belong together.
        self.rows.append(batch["a"][:, 0].int().tolist())
        self.noise.append(torch.rand((), generator=generator).item())
        return {"loss": projectors["a"](batch["a"]).sum()}


def record(folder: Path, seed: int, connection: str = "x") -> Recorder:
    settings = TrainSettings(epochs=3, batch_size=4)
    recorder = Recorder()
    numbers = torch.arange(14.0)[:, None].expand(14, 3)
    projectors = {"a": build_projector(ProjectorSpec(kind="linear", input=3, hidden=1, dimension=2))}
    tables = {"a": numbers.clone(), "b": numbers * 2}
    trainer = Trainer(recorder, tables, projectors, settings, Draws(seed, connection))
    assert trainer.run(Checkpoint(folder, {}), Silent(), "x") == 3
    return recorder


def test_order_and_noise_are_fresh_for_every_step_and_epoch_and_seed(tmp_path: Path) -> None:
    first = record(tmp_path / "a", 0)
    assert len(first.rows) == 9  # 14 rows are 3 batches of 4; the last 2 of each epoch are dropped.
    epochs = [[row for rows in first.rows[start : start + 3] for row in rows] for start in (0, 3, 6)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len({row for epoch in epochs for row in epoch}) == 14  # What is dropped is not always the same.
    assert len(set(first.noise)) == 9
    assert record(tmp_path / "b", 0).rows == first.rows
    for other in (record(tmp_path / "c", 1), record(tmp_path / "d", 0, "y")):
        assert other.rows != first.rows
        assert not set(other.noise) & set(first.noise)
