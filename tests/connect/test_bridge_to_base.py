"""The bridge into a base that stays as it is: against float64, for one leaf and for two, and rankings to the last bit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from tests.connect.test_bridge import profile, rows, unit
from tests.makers.walk import FIRST, WIDTHS, build, mcr

MODEL = Path("data/models") / FIRST
T = 0.05


def expected(leaf_rows: np.ndarray, memory: np.ndarray, here: np.ndarray, base: np.ndarray, means: list) -> np.ndarray:
    """Profiles in the base, less their mean, and less what they have along the means of the base's modalities."""
    centred = profile(leaf_rows, here, base, T) - profile(memory, here, base, T).mean(0)
    basis: list[np.ndarray] = []
    for mean in means:  # Gram and Schmidt, row by row
        rest = mean - sum((mean @ one) * one for one in basis)
        basis.append(rest / np.linalg.norm(rest))
    return unit(np.stack([row - sum((row @ one) * one for one in basis) for row in centred]))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = build("bridge_to_base")
    raw["connections"][FIRST]["retrieve"] = {"profile": {"temperature": T}}
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return raw


def test_leaves_are_their_centred_profiles_and_the_base_keeps_every_bit(raw):
    mcr("retrieve", FIRST)
    mcr("train", FIRST)
    assert not list(MODEL.rglob("*projector*"))
    space = ConnectedSpace.load(MODEL)
    images = rows("clip", "heldout/image").astype(np.float32)
    np.testing.assert_array_equal(space.project("clip", images, "image"), images)
    assert space.dimension == WIDTHS["clip"]
    texts = {name: rows(name, "captions/text") for name in WIDTHS}
    photos = rows("clip", "photos/image")
    for modality, memory in (("audio", rows("clap", "sounds/audio")), ("text", texts["clap"])):
        asked = rows("clap", f"heldout/{modality}")
        reference = expected(asked, memory, texts["clap"], texts["clip"], [photos.mean(0), texts["clip"].mean(0)])
        made = space.project("clap", asked.astype(np.float32), modality)
        np.testing.assert_allclose(made, reference, atol=5e-6)
        # Nothing of a mean is left: centring the base would change no score.
        np.testing.assert_allclose(made.double().numpy() @ photos.mean(0), 0, atol=1e-6)
    with pytest.raises(UserError, match="clap does not embed 'image'"):
        space.project("clap", torch.eye(1, WIDTHS["clap"]), "image")


@pytest.mark.parametrize("keep", [None, {"weight": 0.9}])
def test_rankings_of_the_base_are_bit_identical_with_and_without_own_blocks(raw, keep):
    raw["connections"][FIRST]["keep"] = keep
    raw["evaluate"]["tasks"] = {
        "base": {"task": "retrieval", "corpus": "heldout", "modalities": ["image", "text"], "space": "clip"}
        | {"connections": [FIRST]}
    }
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    for stage in ("retrieve", "train"):
        mcr(stage, FIRST)
    mcr("evaluate")
    for name, key in (("metrics", ["direction", "metric"]), ("ranks", ["direction", "query_key"])):
        table = pd.read_parquet(f"data/metrics/{name}.parquet").set_index(key)
        kept, frozen = (
            table[table.method == method].drop(columns=["connection", "method"])
            for method in ("bridge_to_base", "frozen")
        )
        pd.testing.assert_frame_equal(kept, frozen, check_exact=True)


def test_two_leaves_share_the_base_and_one_inner_product(raw):
    """The second leaf's overlapping modality is itself the base's memory: one hop, and one mean instead of two."""
    leaf = {"overlap": "text", "queries": ["captions"]}
    leaf["memories"] = {
        "clip": {"modality": "text", "corpora": ["captions"]},
        "clap": {"modality": "audio", "corpora": ["sounds"]},
    }
    raw["connections"]["texts"] = {**raw["connections"][FIRST], "join": {"base": "clip", "leaves": {"clap": leaf}}}
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    for name in (FIRST, "texts"):
        mcr("retrieve", name)
        mcr("train", name)
    asked, texts = rows("clap", "heldout/audio"), {name: rows(name, "captions/text") for name in WIDTHS}
    made = ConnectedSpace.load(Path("data/models/texts")).project("clap", asked.astype(np.float32), "audio")
    reference = expected(asked, rows("clap", "sounds/audio"), texts["clap"], texts["clip"], [texts["clip"].mean(0)])
    np.testing.assert_allclose(made, reference, atol=5e-6)
