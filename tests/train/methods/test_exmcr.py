"""The Ex-MCR objective against a float64 reference; every setting of it must matter."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.train.methods.exmcr import ExMCR
from pipeline.train.settings import LeafTrainSettings
from tests.makers.links import make_link
from tests.train.methods.test_cmcr import info_nce, linear, normed, unit

WIDTHS = {"clip": 14, "clap": 10}
BATCH = 16
COLUMNS = {"clap_audio": 10, "clap_text": 10, "clip_text": 14, "clip_image": 14}
SETTINGS = LeafTrainSettings(temperature=0.1, intra_weight=0.3, noise_variance=0.01)


LINK = make_link("unified", base="clip")


def heads() -> dict[str, nn.Module]:
    spec = ProjectorSpec(kind="decoupled", input=10, hidden=12, dimension=14)
    projector = build_projector(spec, "xavier", torch.Generator().manual_seed(0))
    with torch.no_grad():  # Off the identity, so that skipping f_l, or not, shows.
        projector.Head1.weight.add_(0.3 * torch.randn(10, 10, generator=torch.Generator().manual_seed(5)))
    return {"clap": projector}


def batch() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    rows = {name: torch.randn(BATCH, width, generator=source) for name, width in COLUMNS.items()}
    scale = {"clip_image": 0.7, "clap_audio": 0.6}  # Aggregates are shorter than one.
    return {name: scale.get(name, 1.0) * nn.functional.normalize(value, dim=-1) for name, value in rows.items()}


def terms(settings: LeafTrainSettings, rows: dict[str, torch.Tensor] | None = None) -> dict[str, float]:
    objective = ExMCR(LINK, WIDTHS, settings)
    found = objective(heads(), objective.prepare(dict(rows or batch())), torch.Generator().manual_seed(7))
    assert tuple(found) == objective.terms
    return {name: value.item() for name, value in found.items()}


def block(rows: np.ndarray, layer: nn.Module) -> np.ndarray:
    hidden = np.maximum(normed(linear(rows, layer.net1[0]), layer.net1[1]), 0)
    return normed(linear(hidden, layer.net2[0]), layer.net2[1])


def reference(settings: LeafTrainSettings) -> dict[str, float]:
    """The whole step in float64 numpy, with the same draws of noise."""
    source, rows, head = torch.Generator().manual_seed(7), batch(), heads()["clap"]
    ready = {}
    for column, width in COLUMNS.items():
        value = rows[column].double().numpy()
        if settings.renormalise_pseudo:
            value = unit(value)
        variance = settings.noise_variance * (512 / width if settings.noise_scaling == "dimension" else 1)
        if column.startswith("clip") and not settings.noise_on_base:
            variance = 0
        if variance:
            value = value + np.sqrt(variance) * torch.randn(BATCH, width, generator=source).double().numpy()
        ready[column] = unit(value)
    moved = linear(ready["clap_audio"], head.Head1)
    inputs = [moved, ready["clap_text"]]
    if settings.batch_statistics == "joint":
        inputs = [np.concatenate(inputs)]
    made = np.concatenate([unit(block(block(value, head.Head2.mlp1), head.Head2.mlp2)) for value in inputs])
    sides = {"leaf": made[:BATCH], "overlap": made[BATCH:]}
    targets = {"overlap": ready["clip_text"], "base": ready["clip_image"]}
    dense = {
        f"{side}_{target}": info_nce(sides[side], targets[target], settings.temperature)
        for side in sides
        for target in targets
        if f"{side}_{target}" in settings.terms
    }
    if settings.intra_normalise:
        moved = unit(moved)
    distance = np.linalg.norm(moved - ready["clap_text"], axis=1)
    intra = float((distance ** (1 if settings.intra_norm == "l2" else 2)).mean())
    together = sum(dense.values()) / (len(dense) if settings.dense == "mean" else 1)
    return {"loss": together + settings.intra_weight * intra, **dense, "intra": intra}


CHANGES: list[dict[str, object]] = [
    {},
    {"temperature": 0.2},
    {"noise_variance": 0.0},
    {"noise_variance": 0.02},
    {"noise_scaling": "dimension"},
    {"noise_on_base": False},
    {"intra_weight": 0.0},
    {"intra_weight": 1.0},
    {"intra_norm": "squared"},
    {"intra_normalise": True},
    {"dense": "sum"},
    {"terms": ("leaf_overlap",)},
    {"terms": ("leaf_base",)},
    {"terms": ("overlap_overlap",)},
    {"terms": ("overlap_base", "leaf_base")},
    {"renormalise_pseudo": True},
    {"batch_statistics": "separate"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_loss_is_the_reference_with_that_setting_and_no_setting_is_ignored(change: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=change)
    found, expected = terms(settings), reference(settings)
    assert found == pytest.approx(expected, rel=1e-5)
    if change:
        assert found["loss"] != pytest.approx(terms(SETTINGS)["loss"], rel=1e-4)


def test_the_intra_loss_reaches_the_linear_layer_only_and_targets_get_no_gradient() -> None:
    projectors, rows = heads(), batch()
    for value in rows.values():
        value.requires_grad_(True)
    objective = ExMCR(LINK, WIDTHS, SETTINGS)
    found = objective(projectors, rows, torch.Generator().manual_seed(0))
    found["intra"].backward(retain_graph=True)
    assert projectors["clap"].Head1.weight.grad.abs().max() > 1e-4
    assert all(parameter.grad is None for parameter in projectors["clap"].Head2.parameters())
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in projectors["clap"].parameters())


def test_only_the_leafs_own_modality_passes_the_linear_layer() -> None:
    projectors = heads()
    with torch.no_grad():
        projectors["clap"].Head1.weight.zero_()
    objective = ExMCR(LINK, WIDTHS, SETTINGS.model_copy(update={"batch_statistics": "separate", "noise_variance": 0.0}))
    found = objective(projectors, batch(), torch.Generator())
    before = terms(objective.settings)
    assert found["overlap_overlap"].item() == pytest.approx(before["overlap_overlap"], rel=1e-6)
    assert found["leaf_overlap"].item() != pytest.approx(before["leaf_overlap"], rel=1e-2)
