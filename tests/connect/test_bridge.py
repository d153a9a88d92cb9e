"""The training-free bridge: against float64, against the row of the results table, and without any projector file."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.connect import ConnectedSpace, text_profile
from pipeline.connect.text_profile import entropies, profiles
from pipeline.errors import CorruptError, UserError
from pipeline.store import PAIRS, Store
from tests.makers.walk import FIRST, WIDTHS, build, mcr

PROFILE = 0.05
MODEL = Path("data/models") / FIRST


def rows(space: str, place: str) -> np.ndarray:
    return Store.open(Path("data/embeddings") / space / place).read().vectors["embedding"].astype(np.float64)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def profile(values: np.ndarray, here: np.ndarray, there: np.ndarray, temperature: float) -> np.ndarray:
    """A loop over the samples, as the definition reads."""
    made = []
    for row in values:
        weights = np.exp(here @ row / temperature - np.max(here @ row / temperature))
        made.append(weights @ there / weights.sum())
    return unit(np.stack(made))


def expected(modality: str, asked: str, temperature: float = PROFILE) -> np.ndarray:
    """Vectors of corpus `asked` in the connected space, in float64."""
    texts = {space: rows(space, "captions/text") for space in WIDTHS}
    memory = {"image": ("clip", "photos/image"), "audio": ("clap", "sounds/audio"), "text": ("clip", "captions/text")}
    space, corpus = memory[modality]
    here, there = texts[space], texts["clap" if space == "clip" else "clip"]
    known, asking = rows(space, corpus), rows(space, f"{asked}/{modality}")
    own = unit(asking - known.mean(0))
    other = unit(profile(asking, here, there, temperature) - profile(known, here, there, temperature).mean(0))
    return np.hstack([own, other] if space == "clip" else [other, own]) / np.sqrt(2)


@pytest.fixture
def bridged(tmp_path, monkeypatch):
    """A project with the bridge, up to its model, and its parameters."""
    monkeypatch.chdir(tmp_path)
    raw = build("bridge")
    raw["connections"][FIRST]["retrieve"] = {"profile": {"temperature": PROFILE}}
    raw["evaluate"]["tasks"]["held_out"]["baselines"] = FIRST
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    mcr("retrieve", FIRST)
    assert "64 kept, nothing is trained" in mcr("train", FIRST)
    return raw


def test_vectors_are_those_of_a_slow_reference_and_no_projector_is_needed(bridged):
    assert not list(MODEL.rglob("*projector*"))
    for frozen in WIDTHS:
        kept = np.load(MODEL / "clip-clap" / f"texts-{frozen}.npy")
        np.testing.assert_array_equal(kept, rows(frozen, "captions/text").astype(np.float32))
    space = ConnectedSpace.load(MODEL)
    assert space.dimension == sum(WIDTHS.values())
    for modality, frozen in (("image", "clip"), ("audio", "clap"), ("text", "clip")):
        asked = torch.from_numpy(rows(frozen, f"heldout/{modality}").astype(np.float32))
        made = space.project(frozen, asked, modality)
        np.testing.assert_allclose(made, expected(modality, "heldout"), atol=2e-6)
        np.testing.assert_allclose(made.norm(dim=1), 1, atol=1e-6)
    with pytest.raises(UserError, match="no mean for None in clip"):
        space.project("clip", torch.eye(1, WIDTHS["clip"]))


def test_the_connection_and_the_row_of_the_table_have_the_same_numbers(bridged):
    bridged["connections"]["other"] = bridged["connections"][FIRST]
    bridged["evaluate"]["tasks"]["held_out"]["baselines"] = "other"
    Path("params.yaml").write_text(yaml.safe_dump(bridged))
    mcr("retrieve", "other")
    mcr("train", "other")
    mcr("evaluate")
    metrics = pd.read_parquet("data/metrics/metrics.parquet").set_index(["direction", "metric"]).sort_index()
    ours, row = (
        metrics[(metrics.connection == name) & (metrics.method == "bridge")][["value", "ci_low", "ci_high", "chance"]]
        for name in (FIRST, "other")
    )
    assert len(ours) > 6
    pd.testing.assert_frame_equal(ours, row, check_exact=True)
    assert "two_hop_perplexity" in set(metrics.method) and "untrained" not in set(metrics.method)


def test_the_bridge_is_no_baseline_of_itself(bridged):
    mcr("evaluate")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    assert not metrics.duplicated(["task", "connection", "method", "direction", "metric"]).any()


def test_a_perplexity_is_reached_and_the_manifest_says_how(bridged):
    bridged["connections"][FIRST]["retrieve"] = {"profile": {"perplexity": 9}}
    Path("params.yaml").write_text(yaml.safe_dump(bridged))
    mcr("retrieve", FIRST)
    mcr("train", FIRST)
    solved = Store.open(Path("data/pairs") / FIRST / "clip-clap" / "means", PAIRS).manifest.fingerprint["solved"]
    texts, photos = rows("clip", "captions/text"), rows("clip", "photos/image")
    logits = photos @ texts.T / solved["profile_clip"]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(1).mean()
    assert np.exp(entropy) == pytest.approx(9, rel=0.01)
    made = ConnectedSpace.load(MODEL).project("clip", torch.from_numpy(photos.astype(np.float32)), "image")
    np.testing.assert_allclose(made, expected("image", "photos", solved["profile_clip"]), atol=2e-6)


def test_a_damaged_file_is_not_used_and_a_second_run_gives_the_same_bytes(bridged):
    def held() -> dict[str, str]:
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in MODEL.rglob("*") if path.is_file()}

    before = held()
    mcr("train", FIRST)
    assert held() == before
    (MODEL / "clip-clap" / "texts-clap.npy").write_bytes(b"?")
    with pytest.raises(CorruptError, match=r"texts-clap.npy is not the file"):
        ConnectedSpace.load(MODEL)


def test_the_control_breaks_the_bridge_between_the_spaces(bridged):
    true = Store.open(Path("data/pairs") / FIRST / "clip-clap" / "texts", PAIRS).read().vectors
    bridged["connections"][FIRST]["retrieve"]["control"] = "shuffled_overlap"
    Path("params.yaml").write_text(yaml.safe_dump(bridged))
    mcr("retrieve", FIRST)
    broken = Store.open(Path("data/pairs") / FIRST / "clip-clap" / "texts", PAIRS).read().vectors
    np.testing.assert_array_equal(broken["clip_text"], true["clip_text"])
    moved = (broken["clap_text"] != true["clap_text"]).any(1)
    assert moved.all() and {*map(bytes, broken["clap_text"])} == {*map(bytes, true["clap_text"])}


@pytest.mark.parametrize("size", [1, 7, 100])
def test_profiles_do_not_depend_on_how_the_texts_come(monkeypatch, size):
    """However they are cut, also where the largest score comes last and where weights vanish beside it."""
    monkeypatch.setattr(text_profile, "BLOCK_TEXTS", 5)
    draw = np.random.default_rng(0).standard_normal
    asked, here, there = (
        torch.from_numpy(unit(draw(shape)).astype(np.float32)) for shape in ((9, 6), (40, 6), (40, 4))
    )
    here[-1] = asked[0]
    blocks = [(here[at : at + size], there[at : at + size]) for at in range(0, 40, size)]
    for temperature in (0.004, 0.3):
        made, entropy = profiles(asked, blocks, temperature)
        wanted = profile(asked.double().numpy(), here.double().numpy(), there.double().numpy(), temperature)
        np.testing.assert_allclose(made, wanted, atol=5e-6)
        logits = asked.double() @ here.double().T / temperature
        np.testing.assert_allclose(entropy, torch.distributions.Categorical(logits=logits).entropy(), atol=1e-4)


def test_entropies_of_several_temperatures_in_one_pass_are_those_of_the_profiles():
    draw = torch.Generator().manual_seed(0)
    asking, here, there = (
        torch.nn.functional.normalize(torch.randn(n, 9, generator=draw), dim=1) for n in (20, 300, 300)
    )
    blocks = lambda: ((here[at : at + 70], there[at : at + 70]) for at in range(0, 300, 70))  # noqa: E731
    tried = [0.01, 0.07, 0.4, 30.0]
    passes = []

    def once():
        passes.append(1)
        yield from (block for block, _ in blocks())

    for temperature, found in zip(tried, entropies(asking, once(), tried), strict=True):
        assert torch.equal(found, profiles(asking, blocks(), temperature)[1])
        logits = (asking.double() @ here.double().T / temperature).log_softmax(1)
        np.testing.assert_allclose(found, -(logits.exp() * logits).sum(1), atol=1e-4)
    assert len(passes) == 1
