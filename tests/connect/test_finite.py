"""No number that is none leaves `embed`, `search` or the Python API, and no space with such weights is loaded."""

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pipeline.connect import ConnectedSpace, embed_payloads
from pipeline.connect.embed import embed_files
from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings
from pipeline.spaces.weights import finite
from tests.conftest import HashSpace
from tests.connect.test_connected_space import folder  # noqa: F401  # a fixture

TOWERS = {"text": TextSettings(("a",)), "image": ImageSettings(), "audio": AudioSettings(), "point": PointSettings()}
SPOILT = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(("payload", "what"), [(b"nan", "not finite"), (b"zero", "is zero")])
def test_an_embedding_that_is_none_is_an_error_with_the_name_of_its_input(payload, what, tmp_path):
    with pytest.raises(UserError, match=f"item 1 .*{what}"):
        embed_payloads(HashSpace(), "text", [b"fine", payload])
    (tmp_path / "odd.txt").write_bytes(payload)
    (tmp_path / "fine.txt").write_bytes(b"fine")
    with pytest.raises(UserError, match=f"odd.txt .*{what}"):
        embed_files(HashSpace(), [tmp_path / "fine.txt", tmp_path / "odd.txt"])


@pytest.mark.parametrize("value", SPOILT)
@pytest.mark.parametrize("tower", TOWERS)
def test_a_space_with_a_spoilt_weight_is_not_loaded(tmp_path, tower, value):
    model = CompactModel(8, TOWERS)
    names = [name for name, _ in model.named_parameters() if name.startswith(f"towers.{tower}.")]
    with torch.no_grad():
        dict(model.named_parameters())[names[-1]].view(-1)[0] = value
    save_compact(tmp_path, model)
    with pytest.raises(UserError, match=f"not all finite: {names[-1]}"):
        load_space(SpaceSpec("compact", str(tmp_path)))


def test_masks_may_be_minus_infinity_and_running_statistics_may_not():
    class Space:
        def __init__(self, value):
            self.model = torch.nn.BatchNorm1d(2)
            self.model.register_buffer("mask", torch.full((2, 2), -math.inf))
            self.model.running_var[1] = value

    finite.check_finite_weights(Space(1.0), SpaceSpec("x", "y"))
    for value in SPOILT[:2]:
        with pytest.raises(UserError, match="running_var"):
            finite.check_finite_weights(Space(value), SpaceSpec("x", "y"))


def test_large_weights_whose_sum_overflows_are_finite():
    class Space:
        model = None

    space = Space()
    space.model = torch.nn.Linear(1000, 1000)
    torch.nn.init.constant_(space.model.weight, 3e38)
    finite.check_finite_weights(space, SpaceSpec("x", "y"))


@pytest.mark.parametrize("value", SPOILT)
def test_what_is_not_finite_is_not_projected(folder: Path, value: float) -> None:  # noqa: F811
    vectors = torch.nn.functional.normalize(torch.rand(5, 8), dim=1)
    vectors[3, 2] = value
    with pytest.raises(UserError, match="row 3 of those of clip is not finite"):
        ConnectedSpace.load(folder).project("clip", vectors)


@pytest.mark.parametrize("value", SPOILT)
def test_a_projector_that_is_not_finite_is_not_loaded(folder: Path, value: float) -> None:  # noqa: F811
    path = folder / "projector.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = sorted(tensors)[1]
    tensors[name].view(-1)[0] = value
    safetensors.torch.save_file(tensors, path)
    config = read_sealed(folder / "config.json")
    config["files"] = {path.name: sha256_file(path)}
    write_sealed(folder / "config.json", config)
    with pytest.raises(UserError, match=f"NaN or infinity in {name}"):
        ConnectedSpace.load(folder)
