"""Weights of own blocks: by space, and standardised by the spread of each space's cosines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.connect import ConnectedSpace
from pipeline.connect.spreads import load_kept
from pipeline.errors import UserError
from pipeline.links import Keep
from pipeline.params.load import load_params
from pipeline.store import Store
from tests.makers.walk import FIRST, WIDTHS, build_trained, mcr

MODEL, EMBEDDINGS = Path("data/models") / FIRST, Path("data/embeddings")
SIDES = {"clip": ("photos", "image"), "clap": ("sounds", "audio")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spreads")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_trained("cmcr")
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)


def rows(space: str, corpus: str, modality: str) -> np.ndarray:
    return Store.open(EMBEDDINGS / space / corpus / modality).read().vectors["embedding"]


def spread(first: np.ndarray, second: np.ndarray) -> float:
    deviations = []
    for query in first.astype(float):
        scores = [float(query @ other) for other in second.astype(float)]
        deviations += [score - np.mean(scores) for score in scores]
    return float(np.sqrt(np.mean(np.square(deviations))))


def params(keep: dict) -> dict:
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["connections"][FIRST]["keep"] = keep
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return raw


def test_own_and_shared_scores_stand_as_the_weight_says():
    params({"weight": 0.8, "standardise": True})
    links = load_params(Path("params.yaml")).connections[FIRST].links(FIRST)
    space, plain = load_kept(MODEL, links, EMBEDDINGS), ConnectedSpace.load(MODEL)
    assert isinstance(space.keep, dict) and set(space.keep) == set(WIDTHS)
    for name, weight in space.keep.items():
        own, texts = rows(name, *SIDES[name]), rows(name, "captions", "text")
        connected = [plain.project(name, r, m).numpy() for r, m in ((own, SIDES[name][1]), (texts, "text"))]
        shares = weight * spread(own, texts), (1 - weight) * spread(*connected)
        assert shares[0] / shares[1] == pytest.approx(0.8 / 0.2, rel=1e-4)


@pytest.mark.parametrize("keep", [{"weight": 0.8, "standardise": True}, {"weight": {"clip": 0.95, "clap": 0.3}}])
def test_no_weights_by_space_change_an_order_across_spaces(keep):
    raw = params({"weight": 0.5})
    task = {"task": "retrieval", "corpus": "heldout", "connections": [FIRST], "modalities": ["audio", "image"]}
    raw["evaluate"]["tasks"] = {"across": task}
    found = []
    for each in (None, keep):
        raw["connections"][FIRST]["keep"] = each
        Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        mcr("check")
        mcr("evaluate")
        found.append(pd.read_parquet("data/metrics/ranks.parquet"))
    mcr("report")
    said = "0.8, standardised" if "standardise" in keep else "clip 0.95, clap 0.3"
    assert f"own blocks {said}" in Path("data/reports/index.html").read_text()
    pd.testing.assert_frame_equal(*found, check_exact=True)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"clip": 0.9}, "blocks are kept of clip, clap"),
        ({"clip": 0.9, "clap": 1.0}, "space clap is 1"),
        (-0.1, "is -0.1"),
    ],
)
def test_weights_that_mean_nothing_are_refused(keep, said):
    with pytest.raises(UserError, match=said):
        ConnectedSpace.load(MODEL, keep=keep)


def test_without_data_nothing_is_standardised():
    links = load_params(Path("params.yaml")).connections[FIRST].links(FIRST)
    bare = [links[0].model_copy(update={"queries": (), "keep": Keep(weight=0.9, standardise=True)})]
    with pytest.raises(UserError, match="names no text of clip"):
        load_kept(MODEL, bare, EMBEDDINGS)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"weight": {"clip": 0.9}}, "keep.weight gives clip, but blocks are of clip, clap"),
        ({"weight": {"clip": 0.9, "clap": 0.8}, "standardise": True}, "needs one weight, not weights by space"),
        ({"weight": {"clip": 0.9, "clap": 1.0}}, "less than 1"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(keep, said):
    params(keep)
    with pytest.raises(UserError, match=said):
        load_params(Path("params.yaml"))
