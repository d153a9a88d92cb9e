"""Ex-MCR's projector: the published layers and names, evaluated as a slow reference evaluates them."""

import numpy as np
import pytest
import torch

from pipeline.connect.projectors import build_projector
from tests.connect.test_projectors import seeded, slow, spec, used

BLOCKS = [
    f"Head2.mlp{number}.{layer}" for number in (1, 2) for layer in ("net1.0", "net1.1", "relu", "net2.0", "net2.1")
]
LAYERS = [layer if "relu" not in layer else "relu" for layer in BLOCKS]


def test_it_has_the_tensors_of_the_published_head() -> None:
    state = build_projector(spec("decoupled")).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if "Head2.mlp2" not in name}
    norm = ("weight", "bias", "running_mean", "running_var")
    expected: dict[str, tuple[int, ...]] = {"Head1.weight": (512, 512), "Head1.bias": (512,)}
    expected |= {"Head2.mlp1.net1.0.weight": (1024, 512), "Head2.mlp1.net1.0.bias": (1024,)}
    expected |= {"Head2.mlp1.net2.0.weight": (512, 1024), "Head2.mlp1.net2.0.bias": (512,)}
    for layer, width in (("net1.1", 1024), ("net2.1", 512)):
        expected |= {f"Head2.mlp1.{layer}.{name}": (width,) for name in norm}
        expected[f"Head2.mlp1.{layer}.num_batches_tracked"] = ()
    assert shapes == expected
    twice = {name.replace("mlp2", "mlp1") for name in state if "Head2.mlp2" in name}
    assert twice == {name for name in state if "Head2.mlp1" in name}


@pytest.mark.parametrize("init", ["xavier", "eye"])
def test_the_linear_layer_starts_as_the_identity_and_its_bias_does_not_vanish(init: str) -> None:
    head = build_projector(spec("decoupled", input=20, hidden=30, dimension=24), init, seeded())
    assert torch.equal(head.Head1.weight, torch.eye(20))
    assert 0 < head.Head1.bias.abs().max() <= 20**-0.5
    off = head.Head2.mlp1.net1[0].weight - torch.eye(30, 20)
    assert bool(off.any()) == (init == "xavier")


def test_it_equals_the_slow_reference_both_ways() -> None:
    head = used(build_projector(spec("decoupled", input=20, hidden=30, dimension=24), generator=seeded()), 20)
    with torch.no_grad():
        head.Head1.weight.add_(torch.randn(20, 20, generator=seeded(3)))
    rows = np.random.default_rng(0).standard_normal((37, 20))
    inputs = torch.from_numpy(rows).float()
    with torch.inference_mode():
        np.testing.assert_allclose(head(inputs).numpy(), slow(head, rows, ["Head1", *LAYERS]), atol=2e-6)
        np.testing.assert_allclose(head.inter(inputs).numpy(), slow(head, rows, LAYERS), atol=2e-6)
        # Between the two there is no normalisation.
        assert not torch.allclose(head(inputs), head.inter(torch.nn.functional.normalize(head.intra(inputs), dim=-1)))
