"""Coupling into a base: the base's embeddings are targets as they are, the leaf learns to meet them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.connect import ConnectedSpace, ProjectorSpec, build_projector
from pipeline.store import PAIRS, Store
from pipeline.train.methods.coupling import Coupling
from pipeline.train.run import train_connection
from pipeline.train.settings import DecoupledSettings, LeafCouplingTrainSettings
from tests.makers.links import make_link
from tests.train.conftest import WIDTHS, World
from tests.train.methods.test_coupling import Drawn, info_nce, make

SETTINGS = LeafCouplingTrainSettings(
    projector=DecoupledSettings(hidden=32), epochs=8, batch_size=256, learning_rate=3e-3, noise_variance=0.01
)
LINK = make_link("unified", base="clip", sets=("samples",))


@pytest.fixture
def world() -> World:
    return World(0)


def test_the_loss_is_its_definition(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(make(tmp_path, world, {"clip": 60, "clap": 80, "text": 90}, method="excoupling"), PAIRS)
    made = Coupling(LINK, WIDTHS, SETTINGS)
    batch = {"item": made.load((store,), "cpu")["item"][::7]}
    spec = ProjectorSpec(kind="decoupled", input=WIDTHS["clap"], hidden=32, dimension=WIDTHS["clip"])
    build = lambda: build_projector(spec, generator=torch.Generator().manual_seed(1))  # noqa: E731
    drawn = Drawn(monkeypatch, (60, 80, 90), len(batch["item"]))
    terms = made({"clap": build()}, batch, torch.Generator().manual_seed(9))

    generator, leaf = torch.Generator().manual_seed(9), build()
    base_rows, leaf_rows, texts = drawn.first, drawn.second, drawn.texts
    noisy = made._coupled.overlap[1][texts]
    noisy = noisy + torch.randn(noisy.shape, generator=generator) * 0.1
    noisy = noisy / noisy.norm(dim=1, keepdim=True)
    moved = leaf.Head1(made._coupled.samples[1][leaf_rows])  # The first layer is for the leaf's own modality alone.
    projected = leaf.Head2(torch.cat([noisy, moved]))
    text, sound = (projected / projected.norm(dim=1, keepdim=True)).split(len(noisy))
    overlap = info_nce(made._coupled.overlap[0][texts], text, 0.05)
    pseudo = info_nce(made._coupled.samples[0][base_rows], sound, 0.03)
    for name, expected in {"overlap": overlap, "pseudo": pseudo, "loss": 0.3 * overlap + pseudo}.items():
        torch.testing.assert_close(terms[name].double(), expected, rtol=1e-5, atol=1e-6)


def test_sounds_find_pictures_in_a_base_that_stays_to_the_bit(tmp_path: Path, world: World) -> None:
    found = {}
    for name, shuffle in (("intact", False), ("shuffled", True)):
        count = {"clip": 800, "clap": 1024, "text": 1024}
        make(tmp_path / name / LINK.place / "samples", world, count, 16, shuffle, method="excoupling")
        model = tmp_path / f"model-{name}"
        train_connection([(LINK, SETTINGS)], "excoupling", tmp_path / name, model, seed=3)
        latents, space = world.latents(200), ConnectedSpace.load(model)
        images, sounds = (world.embed(one, latents, 0.2) for one in WIDTHS)
        kept = space.project("clip", images).numpy()
        np.testing.assert_array_equal(kept, images)
        top = np.argsort(-kept @ space.project("clap", sounds, "audio").numpy().T, axis=1)[:, :10]
        found[name] = float((top == np.arange(200)[:, None]).any(1).mean())
    assert found["intact"] > 0.4
    assert found["shuffled"] < 0.15
