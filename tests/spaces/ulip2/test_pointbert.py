import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

from pipeline.spaces.ulip2 import pointbert
from pipeline.spaces.ulip2.farthest import farthest_points
from pipeline.spaces.ulip2.pointbert import PointBert, cut_groups, nearest_points

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> PointBert:
    """A full-size tower whose every tensor is random, also those that start as zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    model = PointBert().eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() == 1:
            tensor.normal_(0.5, 0.3, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, tensor.shape[-1 if tensor.shape[-1] > 1 else 1] ** -0.5, generator=generator)
    return model


def clouds(count: int, points: int, seed: int = 0) -> Tensor:
    """Points on ellipsoids, each of other proportions."""
    generator = np.random.default_rng(seed)
    xyz = generator.standard_normal((count, points, 3))
    xyz /= np.linalg.norm(xyz, axis=-1, keepdims=True)
    return torch.tensor(xyz * generator.uniform(0.1, 1, (count, 1, 3)), dtype=torch.float32)


def test_nearest_points_equal_a_full_sort() -> None:
    xyz = clouds(2, 300)
    indices, squared = farthest_points(xyz, 40)
    near = nearest_points(squared, 32)
    for row in range(2):
        cloud = xyz[row].double().numpy()
        for group in range(40):
            order = np.argsort(((cloud - cloud[indices[row, group]]) ** 2).sum(1))
            assert set(near[row, group].tolist()) == set(order[:32].tolist())


def test_groups_are_relative_to_their_centre() -> None:
    xyz = clouds(2, 300)
    centres, groups = cut_groups(xyz, *farthest_points(xyz, 40), 32)
    restored = groups + centres[:, :, None]
    gaps = torch.cdist(restored.flatten(1, 2).double(), xyz.double()).amin(-1)
    assert gaps.max() < 1e-6
    torch.testing.assert_close(groups.square().sum(-1).amin(-1), torch.zeros(2, 40))  # a centre is in its group


def expected_names() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, 384), "cls_pos": (1, 1, 384)}

    def layer(name: str, *weight: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    def batch_norm(name: str, width: int) -> None:
        layer(name, width)
        shapes[f"{name}.running_mean"] = shapes[f"{name}.running_var"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    layer("encoder.first_conv.0", 128, 3, 1)
    batch_norm("encoder.first_conv.1", 128)
    layer("encoder.first_conv.3", 256, 128, 1)
    layer("encoder.second_conv.0", 512, 512, 1)
    batch_norm("encoder.second_conv.1", 512)
    layer("encoder.second_conv.3", 256, 512, 1)
    layer("reduce_dim", 384, 256)
    layer("pos_embed.0", 128, 3)
    layer("pos_embed.2", 384, 128)
    for number in range(12):
        block = f"blocks.blocks.{number}"
        layer(f"{block}.norm1", 384)
        layer(f"{block}.norm2", 384)
        layer(f"{block}.attn.qkv", 1152, 384, bias=False)
        layer(f"{block}.attn.proj", 384, 384)
        layer(f"{block}.mlp.fc1", 1536, 384)
        layer(f"{block}.mlp.fc2", 384, 1536)
    layer("norm", 384)
    return shapes


def test_names_and_shapes_are_those_of_the_published_checkpoint(model: PointBert) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected_names()


class Reference:
    """PointBERT as formulas in float64: one cloud, one group, one head at a time."""

    def __init__(self, model: PointBert) -> None:
        self.tensors = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(self, name: str, values: Array) -> Array:
        weight = self.tensors[f"{name}.weight"]
        return values @ weight.reshape(weight.shape[:2]).T + self.tensors.get(f"{name}.bias", 0.0)

    def layer_norm(self, name: str, values: Array) -> Array:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def batch_norm(self, name: str, values: Array) -> Array:
        scaled = (values - self.tensors[f"{name}.running_mean"]) / np.sqrt(self.tensors[f"{name}.running_var"] + 1e-5)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    @staticmethod
    def gelu(values: Array) -> Array:
        return np.asarray(values * (1 + erf(values / np.sqrt(2))) / 2)

    def token(self, group: Array) -> Array:
        hidden = np.maximum(self.batch_norm("encoder.first_conv.1", self.linear("encoder.first_conv.0", group)), 0)
        hidden = self.linear("encoder.first_conv.3", hidden)
        both = np.concatenate([np.broadcast_to(hidden.max(0), hidden.shape), hidden], axis=1)
        both = np.maximum(self.batch_norm("encoder.second_conv.1", self.linear("encoder.second_conv.0", both)), 0)
        return np.asarray(self.linear("encoder.second_conv.3", both).max(0))

    def attention(self, name: str, tokens: Array) -> Array:
        joint = self.linear(f"{name}.qkv", tokens)
        heads = []
        for head in range(6):
            columns = slice(64 * head, 64 * head + 64)
            query, key, value = joint[:, :384][:, columns], joint[:, 384:768][:, columns], joint[:, 768:][:, columns]
            scores = np.exp(query @ key.T / 8)
            heads.append(scores / scores.sum(1, keepdims=True) @ value)
        return self.linear(f"{name}.proj", np.concatenate(heads, axis=1))

    def features(self, xyz: Array) -> Array:
        chosen, nearest = [0], ((xyz - xyz[0]) ** 2).sum(1)
        while len(chosen) < 512:
            chosen.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, ((xyz - xyz[chosen[-1]]) ** 2).sum(1))
        centres = xyz[chosen]
        groups = [xyz[np.argsort(((xyz - centre) ** 2).sum(1))[:32]] - centre for centre in centres]
        tokens = self.linear("reduce_dim", np.stack([self.token(group) for group in groups]))
        tokens = np.concatenate([self.tensors["cls_token"][0], tokens])
        places = self.linear("pos_embed.2", self.gelu(self.linear("pos_embed.0", centres)))
        places = np.concatenate([self.tensors["cls_pos"][0], places])
        for number in range(12):
            block = f"blocks.blocks.{number}"
            tokens = tokens + places
            tokens = tokens + self.attention(f"{block}.attn", self.layer_norm(f"{block}.norm1", tokens))
            hidden = self.gelu(self.linear(f"{block}.mlp.fc1", self.layer_norm(f"{block}.norm2", tokens)))
            tokens = tokens + self.linear(f"{block}.mlp.fc2", hidden)
        tokens = self.layer_norm("norm", tokens)
        return np.concatenate([tokens[0], tokens[1:].max(0)])


def test_full_size_forward_equals_the_formulas(model: PointBert) -> None:
    xyz = clouds(2, 700)
    features = model(xyz)
    reference = Reference(model)
    expected = np.stack([reference.features(cloud) for cloud in xyz.double().numpy()])
    assert features.shape == (2, 768)
    error = np.linalg.norm(features.numpy() - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 1e-5
    # The two clouds are told apart by far more than that.
    assert np.linalg.norm(expected[0] - expected[1]) > 1e-2 * np.linalg.norm(expected[0])


@pytest.fixture
def few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the groups, for tests that need no full-size forward pass."""
    monkeypatch.setattr(pointbert, "GROUPS", 64)


@pytest.mark.usefixtures("few_groups")
def test_a_cloud_has_the_same_features_alone_and_in_a_batch(model: PointBert, monkeypatch: pytest.MonkeyPatch) -> None:
    xyz = clouds(3, 600)
    alone = model(xyz[2:])
    monkeypatch.setattr(pointbert, "_CLOUDS_AT_ONCE", 2)
    torch.testing.assert_close(model(xyz)[2:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("few_groups")
def test_the_order_of_the_points_does_not_matter_after_the_first(model: PointBert) -> None:
    xyz = clouds(1, 600)
    shuffled = torch.randperm(599, generator=torch.Generator().manual_seed(0))
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + shuffled])
    torch.testing.assert_close(model(xyz[:, order]), model(xyz), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("few_groups")
def test_half_precision_weights_stay_close_and_group_as_before(model: PointBert) -> None:
    xyz = clouds(1, 600)
    exact = model(xyz)
    half = PointBert().eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    rounded = half.to(torch.bfloat16)(xyz)
    assert rounded.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(exact, rounded.float()).min() > 0.999
