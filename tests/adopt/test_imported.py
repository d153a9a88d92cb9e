"""Published heads as connections of params.yaml: imported, then every stage to the page, and their numbers kept."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from pipeline.params.load import load_params
from pipeline.store import Store
from stages.tools.inputs import described
from tests.adopt import test_projectors as authors
from tests.makers.walk import WIDTHS, build, mcr

FILES = {"theirs": ["clap_clip"], "theirs_ex": ["ex_clap"]}


def walked(tmp_path, monkeypatch, name: str) -> str:
    """Import the files under `name`, write down what the command says, and run the stages; what they printed."""
    monkeypatch.chdir(tmp_path)
    # The spaces of the small world have these widths, those of the papers 512.
    monkeypatch.setattr(authors, "WIDTH", WIDTHS["clip"])
    monkeypatch.setitem(WIDTHS, "clap", WIDTHS["clip"])
    raw = build("cmcr")
    places = [Path("published", f"{layout}.pt") for layout in FILES[name]]
    Path("published").mkdir()
    for layout, place in zip(FILES[name], places, strict=True):
        torch.save(authors.published(layout), place)
    said = mcr("import", "projectors", *map(str, places), "--name", name)
    raw["connections"] |= yaml.safe_load(said.partition("# To evaluate it")[2].partition("\n")[2])
    raw["evaluate"]["tasks"]["held_out"] |= {"connections": [name], "hub_temperature": None}
    raw["connections"].pop("main")
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    Path("data/models", name, "config.json").unlink()  # the stage writes it, nothing is left from the import
    return said + mcr("check") + mcr("plan", "--probe", "1") + mcr("retrieve", name) + mcr("train", name)


@pytest.mark.parametrize("name", FILES)
def test_published_heads_are_evaluated_as_a_connection_of_the_parameters(tmp_path, monkeypatch, name):
    said = walked(tmp_path, monkeypatch, name)
    assert "nothing is trained" in said and f"retrieve {name}: 0 kB" in said
    space = ConnectedSpace.load(Path("data/models", name))
    rows = np.random.default_rng(1).standard_normal((20, authors.WIDTH))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    [layout] = FILES[name]
    for (role, modality), steps in authors.WAYS[layout].items():
        expected = authors.direct(authors.published(layout), steps, rows.astype(np.float64))
        np.testing.assert_allclose(space.project(role, rows, modality).numpy(), expected, atol=1e-6)
    mcr("evaluate")
    mcr("report")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    # Recall by hand, from the embeddings through the arithmetic that the authors published.
    sides = {}
    for (role, modality), steps in authors.WAYS[layout].items():
        frozen = Store.open(Path("data/embeddings", role, "heldout", modality)).read().vectors["embedding"]
        sides[modality] = authors.direct(authors.published(layout), steps, frozen.astype(np.float64))
    scores = sides["audio"] @ sides["image"].T
    hits = (scores > np.diag(scores)[:, None]).sum(1) < 10
    found = metrics[(metrics.metric == "R@10") & (metrics.direction == "audio->image")]
    assert found.method.tolist() == [load_params(Path("params.yaml")).connections[name].method]
    np.testing.assert_allclose(found.value.item(), hits.mean(), atol=1e-9)
    page = Path("data/reports/index.html").read_text()
    assert "Published projectors" in page and "Only bounds" not in page


def test_published_heads_keep_both_frozen_spaces_as_any_connection_does(tmp_path, monkeypatch):
    walked(tmp_path, monkeypatch, "theirs")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["connections"]["theirs"]["keep"] = {"weight": 0.9}
    raw["evaluate"]["tasks"]["held_out"] |= {"modalities": ["audio", "text"], "space": "clap"}
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    mcr("evaluate")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    assert {"imported", "imported_towers", "frozen"} == set(metrics.method)
    assert "audio by clap, text by clip and clap" in set(metrics.through)
    kept, ways = ConnectedSpace.load("data/models/theirs", keep=0.9), authors.WAYS["clap_clip"]
    for number, (role, modality) in enumerate((("clip", "image"), ("clap", "audio"))):
        rows = Store.open(Path("data/embeddings", role, "heldout", modality)).read().vectors["embedding"]
        theirs = authors.direct(authors.published("clap_clip"), ways[role, modality], rows.astype(np.float64))
        blocks = [np.zeros((len(rows), authors.WIDTH))] * 2
        blocks[number] = np.sqrt(0.9) * rows
        np.testing.assert_allclose(
            kept.project(role, rows, modality), np.hstack([*blocks, np.sqrt(0.1) * theirs]), atol=1e-6
        )


def test_the_file_is_an_input_like_any_other(tmp_path, monkeypatch):
    walked(tmp_path, monkeypatch, "theirs")
    params, file = load_params(Path("params.yaml")), Path("published/clap_clip.pt")
    before = described("theirs", params.connections["theirs"], params)
    assert before["files"] == 1 and described("theirs", params.connections["theirs"], params) == before
    state = authors.published("clap_clip")
    state["Head_A.net1.0.bias"] += 1
    torch.save(state, file)
    after = described("theirs", params.connections["theirs"], params)
    assert after["sha256"] != before["sha256"]
    mcr("train", "theirs")
    link = json.loads(Path("data/models/theirs/config.json").read_text())["links"][0]
    assert os.path.basename(file).removesuffix(".pt") == link["train"]["layout"] and len(link["train"]["sha256"]) == 64
    file.unlink()
    with pytest.raises(UserError, match="clap_clip.pt does not exist"):
        described("theirs", params.connections["theirs"], params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"join": {"overlap": "image"}}, "clap_clip.pt joins image and audio over text"),
        ({"train": {"file": "", "layout": "clap_clip"}}, "names no file"),
        ({"train": {"layout": "clap_clap"}}, "no layout 'clap_clap'"),
        ({"train": {"layout": "ulip_clip"}}, "ulip_clip.pt joins text and point"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, change, message):
    walked(tmp_path, monkeypatch, "theirs")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    for part, values in change.items():
        raw["connections"]["theirs"][part] |= values
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=message):
        mcr("train", "theirs")


def test_only_a_method_that_reads_no_data_may_leave_out_the_corpora(tmp_path, monkeypatch):
    walked(tmp_path, monkeypatch, "theirs")
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["connections"]["theirs"] |= {"method": "oracle", "train": {}}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=r"join.memories.clip.corpora: is required"):
        load_params(Path("params.yaml"))
