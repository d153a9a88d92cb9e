"""The C-MCR objective against a float64 reference; every setting of it must matter."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.errors import UserError
from pipeline.methods import CMCR as RECORD
from pipeline.methods import ORACLE, method_called
from pipeline.train.link import build_objective
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.methods.oracle import Oracle
from pipeline.train.settings import TrainSettings
from tests.makers.links import make_link

WIDTHS = {"clip": 24, "clap": 20}
BATCH = 16
SETTINGS = TrainSettings(temperature_overlap=0.05, temperature_pseudo=0.1, intra_weight=0.3, noise_variance=0.01)


def projectors() -> dict[str, nn.Module]:
    source = torch.Generator().manual_seed(0)
    return {
        space: build_projector(ProjectorSpec(kind="mlp", input=width, hidden=32, dimension=12), "xavier", source)
        for space, width in WIDTHS.items()
    }


def batch() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    columns = {"clip_text": 24, "clip_image": 24, "clap_text": 20, "clap_audio": 20}
    rows = {name: torch.randn(BATCH, width, generator=source) for name, width in columns.items()}
    scale = {"clip_image": 0.7, "clap_audio": 0.6}  # Aggregates are shorter than one.
    return {name: scale.get(name, 1.0) * nn.functional.normalize(value, dim=-1) for name, value in rows.items()}


def terms(settings: TrainSettings, rows: dict[str, torch.Tensor] | None = None) -> dict[str, float]:
    objective = CMCR(make_link(), WIDTHS, settings)
    found = objective(projectors(), objective.prepare(dict(rows or batch())), torch.Generator().manual_seed(7))
    assert tuple(found) == objective.terms
    return {name: value.item() for name, value in found.items()}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def normed(rows: np.ndarray, layer: nn.BatchNorm1d) -> np.ndarray:
    scaled = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def linear(rows: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return rows @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()


def forward(projector: nn.Module, rows: np.ndarray) -> np.ndarray:
    first, second = projector.net1, projector.net2
    hidden = np.maximum(normed(linear(rows, first[0]), first[1]), 0)
    return unit(normed(linear(hidden, second[0]), second[1]))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    peak = scores.max(1, keepdims=True)
    return scores - peak - np.log(np.exp(scores - peak).sum(1, keepdims=True))


def info_nce(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    scores = first @ second.T / temperature
    return -float(np.diag(log_softmax(scores)).mean() + np.diag(log_softmax(scores.T)).mean()) / 2


def reference(settings: TrainSettings) -> dict[str, float]:
    """The whole step in float64 numpy, with the same draws of noise."""
    source = torch.Generator().manual_seed(7)
    heads, rows = projectors(), batch()
    projected: dict[str, np.ndarray] = {}
    for space, modality in (("clip", "image"), ("clap", "audio")):
        factor = 512 / WIDTHS[space] if settings.noise_scaling == "dimension" else 1.0
        noisy = []
        for name in (f"{space}_text", f"{space}_{modality}"):
            value = rows[name].double().numpy()
            if settings.renormalise_pseudo and name == f"{space}_{modality}":
                value = unit(value)
            if settings.noise_variance:
                drawn = torch.randn(BATCH, WIDTHS[space], generator=source).double().numpy()
                value = value + np.sqrt(settings.noise_variance * factor) * drawn
            noisy.append(unit(value))
        if settings.batch_statistics == "joint":
            both = forward(heads[space], np.concatenate(noisy))
            projected[f"{space}_text"], projected[f"{space}_other"] = both[:BATCH], both[BATCH:]
        else:
            projected[f"{space}_text"], projected[f"{space}_other"] = (forward(heads[space], value) for value in noisy)
    overlap = info_nce(projected["clip_text"], projected["clap_text"], settings.temperature_overlap)
    pseudo = info_nce(projected["clip_other"], projected["clap_other"], settings.temperature_pseudo)
    power = 1 if settings.intra_norm == "l2" else 2
    intra = 0.5 * sum(
        float((np.linalg.norm(projected[f"{space}_text"] - projected[f"{space}_other"], axis=1) ** power).mean())
        for space in WIDTHS
    )
    loss = settings.overlap_weight * overlap + settings.pseudo_weight * pseudo + settings.intra_weight * intra
    return {"loss": loss, "overlap": overlap, "pseudo": pseudo, "intra": intra}


CHANGES: list[dict[str, object]] = [
    {},
    {"temperature_overlap": 0.2},
    {"temperature_pseudo": 0.2},
    {"noise_variance": 0.0},
    {"noise_variance": 0.02},
    {"noise_scaling": "dimension"},
    {"intra_weight": 0.0},
    {"intra_weight": 1.0},
    {"intra_norm": "squared"},
    {"overlap_weight": 0.5},
    {"pseudo_weight": 0.0},
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


def test_each_term_reads_its_own_columns() -> None:
    rows = batch()
    base = terms(SETTINGS)
    shuffled = terms(SETTINGS, {**rows, "clap_text": rows["clap_text"].flip(0)})
    assert shuffled["overlap"] != pytest.approx(base["overlap"], rel=1e-3)
    assert shuffled["intra"] != pytest.approx(base["intra"], rel=1e-3)
    swapped = terms(SETTINGS, {**rows, "clip_text": rows["clip_image"], "clip_image": rows["clip_text"]})
    assert swapped["overlap"] != pytest.approx(base["overlap"], rel=1e-3)
    assert swapped["pseudo"] != pytest.approx(base["pseudo"], rel=1e-3)


@pytest.mark.parametrize(
    "only",
    [{"pseudo_weight": 0, "intra_weight": 0}, {"overlap_weight": 0, "intra_weight": 0}],
    ids=["overlap", "pseudo"],
)
def test_gradients_flow_through_both_projectors(only: dict[str, float]) -> None:
    objective = CMCR(make_link(), WIDTHS, SETTINGS.model_copy(update=only))
    heads = projectors()
    objective(heads, batch(), torch.Generator().manual_seed(0))["loss"].backward()
    for projector in heads.values():
        # A bias before BatchNorm has no gradient; everything else must have one.
        assert all(p.grad is not None for p in projector.parameters())
        assert projector.net1[0].weight.grad.abs().max() > 1e-6


def test_the_oracle_is_plain_info_nce_without_noise() -> None:
    objective = Oracle(make_link(), WIDTHS, SETTINGS)
    assert objective.columns == ("clip_image", "clap_audio")
    rows = batch()
    source = torch.Generator().manual_seed(0)
    before = source.get_state()
    found = objective(projectors(), rows, source)["loss"].item()
    heads = projectors()
    first, second = (
        forward(heads[space], rows[name].double().numpy())
        for space, name in (("clip", "clip_image"), ("clap", "clap_audio"))
    )
    assert found == pytest.approx(info_nce(first, second, SETTINGS.temperature_pseudo), rel=1e-5)
    assert torch.equal(source.get_state(), before)


def test_a_method_is_named_and_gets_what_it_needs() -> None:
    spaces = {name: {"dimension": width} for name, width in WIDTHS.items()}
    assert isinstance(build_objective(ORACLE, make_link(overlap=""), spaces, SETTINGS), Oracle)
    with pytest.raises(UserError, match="no method 'cmrc'") as error:
        method_called("cmrc")
    assert "cmcr" in error.value.hint
    with pytest.raises(UserError, match="over a modality that both embed"):
        build_objective(RECORD, make_link(overlap=""), spaces, SETTINGS)
