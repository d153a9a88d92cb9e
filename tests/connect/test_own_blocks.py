"""Frozen spaces kept as blocks: against float64, across spaces as without blocks, and a base to the last bit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from pipeline.store import Store
from tests.makers.walk import FIRST, WIDTHS, build, mcr

MODEL = Path("data/models") / FIRST
HOME = {"image": "clip", "audio": "clap", "text": "clip"}
WEIGHTS = [0.1, 0.5, 0.9, 0.99]


def held_out(modality: str, space: str = "") -> Tensor:
    folder = Path("data/embeddings") / (space or HOME[modality]) / "heldout" / modality
    return torch.from_numpy(Store.open(folder).read().vectors["embedding"])


@pytest.fixture(scope="module", params=["cmcr", "exmcr", "bridge", "joint_coupling"])
def project(request, tmp_path_factory):
    """Folder of a project with a finished connection, by every method."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build(request.param)
        mcr("retrieve", FIRST)
        mcr("train", FIRST)
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_blocks_are_the_frozen_rows_beside_the_connected_ones(weight):
    plain, kept = ConnectedSpace.load(MODEL), ConnectedSpace.load(MODEL, keep=weight)
    base = plain.config.base
    widths = {space: width for space, width in WIDTHS.items() if space != base}
    assert kept.dimension == plain.dimension + sum(widths.values())
    for modality, space in HOME.items():
        rows = held_out(modality)
        shared = plain.project(space, rows, modality).double().numpy()
        blocks = [np.zeros((len(rows), width)) for width in widths.values()]
        if space == base:
            expected = np.hstack([*blocks, shared])
        else:
            blocks[list(widths).index(space)] = np.sqrt(weight) * rows.double().numpy()
            expected = np.hstack([*blocks, np.sqrt(1 - weight) * shared])
        made = kept.project(space, rows, modality)
        np.testing.assert_allclose(made, expected, atol=1e-6)
        np.testing.assert_allclose(made.norm(dim=1), 1, atol=1e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_no_weight_changes_an_order_across_spaces(weight):
    plain, kept = ConnectedSpace.load(MODEL), ConnectedSpace.load(MODEL, keep=weight)
    for across in (False, True):
        scores = []
        for space, query in ((plain, False), (kept, across)):
            sides = (
                space.project("clap", held_out("audio"), "audio", query),
                space.project("clip", held_out("image"), "image"),
            )
            scores.append((sides[0].double() @ sides[1].double().T).numpy())
        order = np.argsort(scores[0], axis=1)
        ours = np.take_along_axis(scores[1], order, 1)
        assert (np.diff(ours, axis=1) > -1e-6).all()
        assert np.corrcoef(scores[0].ravel(), scores[1].ravel())[0, 1] > 1 - 1e-6


def test_within_a_space_its_own_cosine_decides():
    kept = ConnectedSpace.load(MODEL, keep=0.999)
    sides = (kept.project("clap", held_out(name, "clap"), name).double() for name in ("audio", "text"))
    frozen = held_out("audio", "clap").double() @ held_out("text", "clap").double().T
    first, second = sides
    np.testing.assert_allclose(first @ second.T, frozen, atol=3e-3)


def test_masked_queries_have_no_block_and_length_one():
    kept = ConnectedSpace.load(MODEL, keep=0.9)
    blocks = kept.dimension - ConnectedSpace.load(MODEL).dimension
    for modality, space in HOME.items():
        masked = kept.project(space, held_out(modality), modality, across=True)
        assert not masked[:, :blocks].any()
        np.testing.assert_allclose(masked.norm(dim=1), 1, atol=1e-5)
        plain = ConnectedSpace.load(MODEL).project(space, held_out(modality), modality)
        np.testing.assert_allclose(masked[:, blocks:], plain, atol=1e-5)


def test_a_text_fills_the_block_of_every_tower_that_reads_it():
    kept = ConnectedSpace.load(MODEL, keep=0.5)
    towers = {space: held_out("text", space) for space in WIDTHS}
    joined = kept.project_towers(towers, "text").double()
    sounds = kept.project("clap", held_out("audio"), "audio").double()
    single = {space: kept.project(space, rows, "text").double() for space, rows in towers.items()}
    blocks = kept.dimension - ConnectedSpace.load(MODEL).dimension
    np.testing.assert_allclose(joined.norm(dim=1), 1, atol=1e-5)
    assert joined[:, :blocks].any(0).all()
    # What the sound's own block says of the text is what CLAP's text says alone, up to one factor for each text.
    own = joined[:, :blocks] @ sounds[:, :blocks].T
    alone = single["clap"][:, :blocks] @ sounds[:, :blocks].T
    factor = (own * alone).sum(1, keepdim=True) / alone.square().sum(1, keepdim=True)
    np.testing.assert_allclose(own, factor * alone, atol=1e-6)
    assert (factor > 0.5).all()
    with pytest.raises(UserError, match="Without kept blocks"):
        ConnectedSpace.load(MODEL).project_towers(towers, "text")


def test_it_is_a_setting_that_evaluation_and_search_read_and_no_file_of_the_model_holds():
    before = {path: path.read_bytes() for path in MODEL.rglob("*") if path.is_file()}
    raw = yaml.safe_load(Path("params.yaml").read_text())
    common = {"task": "retrieval", "corpus": "heldout", "connections": [FIRST]}
    raw["evaluate"]["tasks"] = {
        "across": {**common, "modalities": ["audio", "image"]},
        "within": {**common, "modalities": ["image", "text"], "space": "clip"},
    }
    found = {}
    for keep in (None, {"weight": 0.9}, {"weight": 0.999999}):
        raw["connections"][FIRST]["keep"] = keep
        Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        mcr("check")
        mcr("evaluate")
        mcr("report")
        assert ("own blocks" in Path("data/reports/index.html").read_text()) == bool(keep)
        card = Path("data/reports/model_card.md").read_text()
        assert ("weight of the frozen spaces beside it" in card) == bool(keep)
        metrics = pd.read_parquet("data/metrics/metrics.parquet")
        found[keep and keep["weight"]] = metrics.set_index(["task", "method", "direction", "metric"]).value
    across = [values.loc["across"] for values in found.values()]
    pd.testing.assert_series_equal(across[0], across[1])
    within, method = found[0.999999].loc["within"], raw["connections"][FIRST]["method"]
    pd.testing.assert_series_equal(within[method], within["frozen"], check_exact=True)
    if "base" in raw["connections"][FIRST]["join"]:
        pd.testing.assert_series_equal(found[0.9].loc["within", method], within["frozen"], check_exact=True)
    mcr("train", FIRST)
    assert {path: path.read_bytes() for path in MODEL.rglob("*") if path.is_file()} == before
