"""FreeBind's bonds: against float64, a base to the last bit, and factors that are chosen after training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.connect import ConnectedSpace
from pipeline.connect.combined import FACTORS
from pipeline.errors import UserError
from pipeline.store import Store
from tests.makers.walk import FIRST, WIDTHS, build, build_trained, mcr
from tests.train.methods.test_cmcr import linear, unit

MODEL = Path("data/models") / FIRST


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("freebind")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_trained("freebind")
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)


def held_out(space: str, modality: str) -> np.ndarray:
    return Store.open(Path("data/embeddings") / space / "heldout" / modality).read().vectors["embedding"]


def expert(space: ConnectedSpace, rows: np.ndarray) -> np.ndarray:
    """The mean direction of all members, one row and one member at a time, in float64."""
    members = space._connected._projectors["clap"].members
    assert len(members) == 7
    made = []
    for row in rows.astype(np.float64)[:, None]:
        each = []
        for head in members:
            hidden = np.maximum(still(linear(row, head.net1[0]), head.net1[1]), 0)
            each.append(unit(still(linear(hidden, head.net2[0]), head.net2[1]))[0])
        made.append(np.mean(each, axis=0))
    return unit(np.stack(made))


def still(rows: np.ndarray, norm: torch.nn.BatchNorm1d) -> np.ndarray:
    mean, variance, weight, bias = (
        tensor.detach().double().numpy() for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (rows - mean) / np.sqrt(variance + norm.eps) * weight + bias


@pytest.mark.parametrize("factor", [None, 0.0, 0.3, 1.0])
def test_a_text_of_both_towers_is_the_weighted_mean_direction(factor):
    space = ConnectedSpace.load(MODEL, combine=None if factor is None else {"text": factor})
    towers = {name: held_out(name, "text") for name in WIDTHS}
    made = space.project_towers(towers, "text").numpy()
    share = FACTORS["text"] if factor is None else factor
    if share == 0:
        np.testing.assert_array_equal(made, towers["clip"])
        return
    expected = unit(share * expert(space, towers["clap"]) + (1 - share) * towers["clip"].astype(np.float64))
    np.testing.assert_allclose(made, expected, atol=2e-6)


def test_an_item_of_one_tower_is_the_base_to_the_last_bit_or_the_leaves(inside):
    space = ConnectedSpace.load(MODEL, combine={"audio": 0.2})
    images, sounds = held_out("clip", "image"), held_out("clap", "audio")
    np.testing.assert_array_equal(space.project("clip", images, "image"), images)
    np.testing.assert_allclose(space.project("clap", sounds, "audio"), expert(space, sounds), atol=2e-6)


def test_two_leaves_are_pooled_before_they_meet_the_base():
    """As the published code does: fourteen projectors of two experts, one mean."""
    space = ConnectedSpace.load(MODEL, combine={"text": 0.4})
    mixed = space._connected
    mixed._projectors["other"] = mixed._projectors["clap"]
    rows = {name: torch.from_numpy(held_out(name, "text")) for name in WIDTHS}
    rows["other"] = rows["clap"].roll(1, 0)
    with torch.inference_mode():
        made = mixed.together(rows, "text").numpy()
        members = [
            head(rows[leaf]).double().numpy() for leaf in ("clap", "other") for head in mixed._projectors[leaf].members
        ]
    pooled = unit(np.mean(members, axis=0))
    np.testing.assert_allclose(made, unit(0.4 * pooled + 0.6 * rows["clip"].double().numpy()), atol=2e-6)


def test_factors_are_a_setting_that_only_evaluation_and_search_read():
    before = {path: path.read_bytes() for path in MODEL.rglob("*") if path.is_file()}
    raw = yaml.safe_load(Path("params.yaml").read_text())
    common = {"task": "retrieval", "corpus": "heldout", "connections": [FIRST]}
    raw["evaluate"]["tasks"] = {"kept": {**common, "modalities": ["image", "text"], "space": "clip"}}
    found = {}
    for factor in (0.0, 0.9):
        raw["connections"][FIRST]["combine"] = {"text": factor}
        Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        mcr("check")
        mcr("evaluate")
        mcr("report")
        assert "all towers" in Path("data/reports/index.html").read_text()
        metrics = pd.read_parquet("data/metrics/metrics.parquet")
        assert "text by clip and clap" in " ".join(metrics.through)
        found[factor] = metrics.set_index(["method", "direction", "metric"]).value
    for values in found.values():  # by the base's own tower nothing changes
        pd.testing.assert_series_equal(values["freebind"], values["frozen"], check_exact=True)
    pd.testing.assert_series_equal(found[0.0]["freebind_towers"], found[0.0]["frozen"], check_exact=True)
    assert not found[0.9]["freebind_towers"].equals(found[0.0]["freebind_towers"])
    mcr("train", FIRST)
    assert {path: path.read_bytes() for path in MODEL.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("combine", "said"), [({"point": 0.5}, "embeds no 'point'"), ({"text": 1.5}, "is 1.5")])
def test_factors_that_mean_nothing_are_refused(combine, said):
    with pytest.raises(UserError, match=said):
        ConnectedSpace.load(MODEL, combine=combine)


def test_a_method_that_combines_nothing_has_no_factors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = build("exmcr")
    mcr("retrieve", FIRST)
    mcr("train", FIRST)
    with pytest.raises(UserError, match="exmcr does not combine leaves"):
        ConnectedSpace.load(MODEL, combine={"text": 0.5})
    raw["connections"][FIRST]["combine"] = {"text": 0.5}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="combine"):
        mcr("check")
