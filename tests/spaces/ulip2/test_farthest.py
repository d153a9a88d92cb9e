from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.spaces.ulip2.farthest import farthest_in_step, farthest_of_cloud, farthest_points
from tests.makers.devices import DEVICES

Sampler = Callable[[Tensor, int], tuple[Tensor, Tensor]]
# The second is what a GPU runs.
SAMPLERS = pytest.mark.parametrize("sampler", [farthest_points, farthest_in_step])


def clouds(count: int, points: int) -> Tensor:
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(points))


def brute_force(xyz: NDArray[np.float64], count: int) -> list[int]:
    """The definition, in float64."""
    chosen = [0]
    while len(chosen) < count:
        gaps = [min(((point - xyz[index]) ** 2).sum() for index in chosen) for point in xyz]
        chosen.append(int(np.argmax(gaps)))
    return chosen


@SAMPLERS
@DEVICES
@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (1e-3, 10)], ids=["at the origin", "small and far from the origin"]
)
def test_points_are_those_of_the_definition(sampler: Sampler, device: str, scale: float, offset: float) -> None:
    xyz = clouds(3, 80) * scale + offset
    indices, squared = (found.cpu() for found in sampler(xyz.to(device), 25))
    for cloud, chosen, distances in zip(xyz.double().numpy(), indices, squared, strict=True):
        assert chosen.tolist() == brute_force(cloud, 25)
        np.testing.assert_allclose(distances, ((cloud[chosen][:, None] - cloud) ** 2).sum(-1), rtol=1e-5)


@SAMPLERS
def test_every_distinct_point_is_taken_before_a_copy(sampler: Sampler) -> None:
    distinct = clouds(1, 20)[0]
    repeated = distinct.repeat(5, 1)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    indices, _ = sampler(repeated[None], 40)
    assert len(repeated[indices[0, :20]].unique(dim=0)) == 20


def test_one_cloud_without_distances_gives_the_same_points() -> None:
    xyz = clouds(1, 500)
    indices, _ = farthest_points(xyz, 100)
    np.testing.assert_array_equal(farthest_of_cloud(xyz[0].numpy(), 100), indices[0])
