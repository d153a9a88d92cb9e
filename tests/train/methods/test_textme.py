"""TextME: its loss against slow loops in float64, its means, and a world in which sounds follow the texts."""

import numpy as np
import pytest
import torch

from pipeline.connect import ConnectedSpace, ProjectorSpec, build_projector
from pipeline.errors import UserError
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import TextSettings
from pipeline.store import PAIRS, Store
from pipeline.train.methods.textme import hard_negative_info_nce
from pipeline.train.run import train_connection
from pipeline.train.settings import TextMEProjectorSettings, TextMESettings
from tests.makers.links import make_link
from tests.retrieve import test_pseudo_pairs as stores

LINK = make_link("text_only", ("clip", "clap"), base="clip").model_copy(update={"sets": ("texts", "means")})
SETTINGS = TextMESettings(projector=TextMEProjectorSettings(hidden=16), epochs=2, batch_size=20)
SOUNDS, TEXTS = stores.SOUNDS, stores.TEXTS


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_loss_is_its_definition_with_gradients():
    draw = np.random.default_rng(0)
    second = unit(draw.normal(size=(30, 7)))
    first = unit(second + 0.6 * draw.normal(size=(30, 7)))
    first[3] = -second[3]  # its own partner is the farthest: nothing lies between the margins
    temperature, low, high = 0.07, 0.1, 0.9
    losses = []
    for row in range(30):
        own = first[row] @ second[row]
        negatives = [
            first[row] @ second[other]
            for other in range(30)
            if other != row and low * own <= first[row] @ second[other] <= high * own
        ]
        if negatives:
            scores = np.array([own, *negatives]) / temperature
            losses.append(np.log(np.exp(scores).sum()) - scores[0])
    rows = torch.from_numpy(first).requires_grad_()
    loss = hard_negative_info_nce(rows, torch.from_numpy(second), temperature, (low, high))
    assert 0 < len(losses) < 30 and loss.item() == pytest.approx(np.mean(losses), rel=1e-9)
    loss.backward()
    assert rows.grad is not None and rows.grad.isfinite().all() and not rows.grad[3].any()


def test_without_any_negative_the_loss_is_zero():
    rows = torch.eye(4, requires_grad=True)
    loss = hard_negative_info_nce(rows, torch.eye(4), 0.07, (0.1, 0.9))
    loss.backward()
    assert loss.item() == 0 and rows.grad is not None and not rows.grad.any()


def test_its_scores_are_never_in_16_bits():
    """As those of the other methods: layers multiply in bf16, the loss must not notice."""
    draw = torch.Generator().manual_seed(0)
    second = torch.nn.functional.normalize(torch.randn(64, 16, generator=draw), dim=1)
    first = torch.nn.functional.normalize(second + 0.3 * torch.randn(64, 16, generator=draw), dim=1)
    exact = hard_negative_info_nce(first.double(), second.double(), 0.07, (0.1, 0.9))
    with torch.autocast("cpu", torch.bfloat16):
        loss = hard_negative_info_nce(first, second, 0.07, (0.1, 0.9))
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.fixture
def model(tmp_path):
    """A finished connection, through both stages."""
    for space, corpus, modality, parts in (
        ("clip", "captions", "text", TEXTS),
        ("clap", "captions", "text", TEXTS[::-1]),
        ("clip", "photos", "image", stores.PHOTOS),
        ("clap", "sounds", "audio", SOUNDS),
    ):
        facts = {
            "spec": {"encoder": "compact", "checkpoint": "x"},
            "modalities": ["text", "image" if space == "clip" else "audio"],
        }
        stores.write_store(tmp_path / "embeddings" / space / corpus / modality, space, modality, parts, 1, facts=facts)
    for name in LINK.sets:
        wanted = PairSet(LINK, "textme", TextSettings(), 0, tmp_path / "embeddings", name)
        stores.run(wanted, tmp_path / "pairs" / LINK.place / name)
    train_connection([(LINK, SETTINGS)], "textme", tmp_path / "pairs", tmp_path / "model", seed=3)
    return tmp_path / "model"


def table(space: str, modality: str, parts: list[list[str]]) -> np.ndarray:
    return np.stack([stores.vector(space, modality, key, 1) for part in parts for key in part]).astype(np.float64)


def test_each_modality_of_the_leaf_is_centred_by_its_own_mean_and_the_anchor_stays(model):
    means = Store.open(model.parent / "pairs" / LINK.place / "means", PAIRS).read()
    for key, mean in zip(means.keys, means.vectors["clap_mean"], strict=True):
        rows = table("clap", "audio", SOUNDS) if key == "clap_audio" else table("clap", "text", TEXTS)
        np.testing.assert_allclose(mean, rows.mean(0), atol=1e-6)
    space = ConnectedSpace.load(model)
    spec = ProjectorSpec(kind="mlp_gelu", input=8, hidden=16, dimension=12)
    assert space.config.projectors == {"clap": spec}
    head = space._connected._projectors["clap"]
    assert [type(layer).__name__ for layer in head.net1] == ["Linear", "BatchNorm1d", "GELU"]
    for modality, parts in (("audio", SOUNDS), ("text", TEXTS)):
        rows = table("clap", modality, parts)
        expected = head(torch.from_numpy(unit(rows - rows.mean(0)).astype(np.float32)))
        np.testing.assert_allclose(space.project("clap", rows.astype(np.float32), modality), expected, atol=1e-5)
    photos = table("clip", "image", stores.PHOTOS).astype(np.float32)
    np.testing.assert_array_equal(space.project("clip", photos, "image"), photos)
    with pytest.raises(UserError, match="clap does not embed 'image'"):
        space.project("clap", table("clap", "text", TEXTS).astype(np.float32), "image")


def test_the_projector_is_the_block_of_its_authors():
    """Linear, BatchNorm, GELU, Linear, BatchNorm, unit length (textme/models/projector.py of SoyeonHH/TextME)."""
    head = build_projector(ProjectorSpec(kind="mlp_gelu", input=5, hidden=7, dimension=3)).double().eval()
    rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = {name: tensor.numpy() for name, tensor in head.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - weights[f"{name}.running_mean"]) / np.sqrt(weights[f"{name}.running_var"] + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    from scipy.special import erf

    hidden = norm(rows.numpy() @ weights["net1.0.weight"].T + weights["net1.0.bias"], "net1.1")
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    expected = norm(hidden @ weights["net2.0.weight"].T + weights["net2.0.bias"], "net2.1")
    np.testing.assert_allclose(head(rows).detach(), unit(expected), atol=1e-12)
