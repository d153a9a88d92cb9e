"""Projectors: the published layers and names, evaluated as a slow reference evaluates them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.connect.projectors import ProjectorSpec, build_projector
from pipeline.connect.weights import load_projectors, save_projectors
from pipeline.errors import CorruptError, UserError

NORM = ("weight", "bias", "running_mean", "running_var")


def spec(kind: str = "mlp", **changed: int) -> ProjectorSpec:
    return ProjectorSpec.model_validate({"kind": kind, "input": 512, "hidden": 1024, "dimension": 512, **changed})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def used(projector: nn.Module, width: int) -> nn.Module:
    """A projector whose BatchNorms have statistics, scale and shift that differ from the initial ones."""
    source = seeded(9)
    for _ in range(3):
        projector(torch.randn(32, width, generator=source))
    for module in projector.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=source)
            nn.init.normal_(module.bias, generator=source)
    return projector.eval()


def slow(projector: nn.Module, rows: np.ndarray, layers: list[str]) -> np.ndarray:
    """The projector in float64 numpy, from its state dict alone."""
    state = {name: tensor.double().numpy() for name, tensor in projector.state_dict().items()}
    for layer in layers:
        if layer == "relu":
            rows = np.maximum(rows, 0)
        elif f"{layer}.running_mean" in state:
            scaled = (rows - state[f"{layer}.running_mean"]) / np.sqrt(state[f"{layer}.running_var"] + 1e-5)
            rows = scaled * state[f"{layer}.weight"] + state[f"{layer}.bias"]
        else:
            rows = rows @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


LAYERS = {"mlp": ["net1.0", "net1.1", "relu", "net2.0", "net2.1"], "linear": ["net.0", "net.1", "relu"]}


def test_mlp_has_the_tensors_of_the_published_head() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in build_projector(spec()).state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {"net1.0.weight": (1024, 512), "net1.0.bias": (1024,)}
    expected |= {"net2.0.weight": (512, 1024), "net2.0.bias": (512,)}
    expected |= {f"net1.1.{name}": (1024,) for name in NORM} | {f"net2.1.{name}": (512,) for name in NORM}
    expected |= {"net1.1.num_batches_tracked": (), "net2.1.num_batches_tracked": ()}
    assert shapes == expected


def test_linear_has_the_tensors_of_the_published_head() -> None:
    state = build_projector(spec("linear")).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected: dict[str, tuple[int, ...]] = {"net.0.weight": (512, 512), "net.0.bias": (512,)}
    expected |= {f"net.1.{name}": (512,) for name in NORM} | {"net.1.num_batches_tracked": ()}
    assert shapes == expected
    # Two such heads are the 529,410 numbers of the published CLIP-ULIP file.
    assert 2 * sum(tensor.numel() for tensor in state.values()) == 529_410


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_projection_equals_the_slow_reference(kind: str) -> None:
    projector = used(build_projector(spec(kind, input=24, hidden=40, dimension=16), generator=seeded()), 24)
    rows = torch.randn(50, 24, generator=seeded(3))
    found = projector(rows).detach().numpy()
    np.testing.assert_allclose(found, slow(projector, rows.double().numpy(), LAYERS[kind]), atol=1e-6)
    assert (found >= 0).all() == (kind == "linear")


def test_initial_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = build_projector(spec(), "xavier", seeded()).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = build_projector(spec(), "xavier", seeded()).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_projector(spec(), "xavier", seeded(1)).state_dict()
    assert not torch.equal(first["net2.0.weight"], other["net2.0.weight"])
    weight = first["net1.0.weight"]
    bound = (6 / (512 + 1024)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_eye_starts_as_the_identity() -> None:
    projector = build_projector(spec("linear", input=8, dimension=6), "eye", seeded())
    assert torch.equal(projector.state_dict()["net.0.weight"], torch.eye(6, 8))


def test_unknown_kind_and_init() -> None:
    with pytest.raises(UserError, match="no projector kind 'mpl'"):
        build_projector(spec("mpl"))
    with pytest.raises(UserError, match="no initialisation 'zero'"):
        build_projector(spec(), "zero")


SMALL = {"clip": spec(input=8, hidden=6, dimension=4), "clap": spec(input=5, hidden=6, dimension=4)}


def test_weights_survive_the_disk_and_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    heads = {space: used(build_projector(one, generator=seeded()), one.input) for space, one in SMALL.items()}
    save_projectors(tmp_path / "a.safetensors", heads)
    save_projectors(tmp_path / "b.safetensors", heads)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = load_projectors(tmp_path / "a.safetensors", SMALL)
    for space, head in heads.items():
        assert not loaded[space].training
        for name, tensor in head.state_dict().items():
            assert torch.equal(tensor, loaded[space].state_dict()[name])


def test_weights_that_do_not_fit_are_refused_with_the_tensor_named(tmp_path: Path) -> None:
    path = tmp_path / "projector.safetensors"
    with pytest.raises(UserError, match="does not exist"):
        load_projectors(path, SMALL)
    save_projectors(path, {space: build_projector(one) for space, one in SMALL.items()})
    wider = {**SMALL, "clip": spec(input=8, hidden=7, dimension=4)}
    with pytest.raises(UserError, match=r"clip\.net1\.0\.weight is \[6, 8\] instead of \[7, 8\]"):
        load_projectors(path, wider)
    with pytest.raises(UserError, match=r"clap\.net1\.0\.bias is not expected"):
        load_projectors(path, {"clip": SMALL["clip"]})
    with pytest.raises(UserError, match=r"ulip\.net1\.0\.bias is missing"):
        load_projectors(path, {**SMALL, "ulip": SMALL["clip"]})
    path.write_bytes(b"not tensors")
    with pytest.raises(CorruptError, match="cannot be read"):
        load_projectors(path, SMALL)
