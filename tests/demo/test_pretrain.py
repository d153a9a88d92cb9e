"""Pretraining at tiny size: the same bytes twice, a space that loads, and a batch that finds itself."""

import importlib

import pytest
import torch
from torch import nn

from pipeline.demo.params import Pretraining
from pipeline.demo.pretrain.contrast import contrastive_loss, train_contrastive
from pipeline.progress import Silent
from pipeline.spaces import SpaceSpec, load_space

TINY = Pretraining(scenes=64, captions=2, epochs=1, batch=32, learning_rate=0.004, dimension=16)
FAMILIES = {"clip": "compact", "clap": "compact", "ulip": "compact"}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_seed_gives_the_same_bytes_and_a_space_that_loads(name, tmp_path):
    module = importlib.import_module(f"pipeline.demo.pretrain.{name}")
    for folder in ("first", "second"):
        module.pretrain(tmp_path / folder, TINY, 0, Silent())
    files = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("first", "second")]
    assert files[0] == files[1] and len(files[0]) == 2
    space = load_space(SpaceSpec(encoder=FAMILIES[name], checkpoint=str(tmp_path / "first")))
    assert space.dimension == 16
    ids = space.preprocess("text", b"a photo of three red metal cubes rising")
    assert space.encode("text", ids[None]).norm() == pytest.approx(1, abs=1e-5)


def test_the_loss_is_that_of_the_definition():
    first, second = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    cosine = (first / first.norm(dim=1, keepdim=True)) @ (second / second.norm(dim=1, keepdim=True)).T
    odds = (2 * cosine).exp()
    expected = -(odds.diag() / odds.sum(1)).log().mean() / 2 - (odds.diag() / odds.sum(0)).log().mean() / 2
    scale = torch.tensor(2.0, dtype=torch.float64).log()
    torch.testing.assert_close(contrastive_loss([first, second], scale), expected)


def test_training_brings_the_halves_of_a_scene_together():
    torch.manual_seed(0)
    codes, model = torch.eye(32), nn.ModuleList([nn.Linear(32, 8), nn.Linear(32, 8)])
    scale = nn.Parameter(torch.tensor(1.0))
    settings = Pretraining(scenes=32, captions=1, epochs=60, batch=32, learning_rate=0.05, dimension=8)
    train_contrastive(model, scale, lambda rows, _: [half(codes[rows]) for half in model], settings, 0, Silent())
    first, second = (half(codes) for half in model)
    assert ((first @ second.T).argmax(1) == torch.arange(32)).float().mean() > 0.9
