"""Farthest-point sampling: start at point 0, then always take the point that is furthest from all taken so far.

The steps depend on each other, and each is short. So a CPU does best with one cloud at a time that stays in its cache,
on one thread (threads that meet at every step wait more than they work, above all on a busy machine), and a GPU with
all clouds in each step.

Coordinate differences are squared as they are, not expanded to ``|a|^2 - 2ab + |b|^2``: that would lose the distances of
a small cloud far from the origin (and, on a GPU, digits to TF32).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


def farthest_points(xyz: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sample points of each cloud.

    Args:
        xyz: Clouds [B, N, 3], float32.
        count: Number of points to take, G. Once all distinct points are taken, copies of them are.

    Returns:
        Indices [B, G], and the squared distances [B, G, N] of every point from each that was taken.
    """
    if xyz.device.type != "cpu":
        return farthest_in_step(xyz, count)
    squared = xyz.new_empty(len(xyz), count, xyz.shape[1])
    indices = [
        farthest_of_cloud(cloud.numpy(), count, distances.numpy())
        for cloud, distances in zip(xyz, squared, strict=True)
    ]
    return torch.from_numpy(np.stack(indices)), squared


def farthest_of_cloud(xyz: Array, count: int, squared: Array | None = None) -> NDArray[np.int64]:
    """Indices [G] of `count` points of one cloud [N, 3]; `squared` [G, N] receives their distances where it is given."""
    planes = np.ascontiguousarray(xyz.T)  # the inner loop runs along one coordinate of all points
    difference = np.empty_like(planes)
    spare = np.empty(len(xyz), np.float32)
    nearest = np.full(len(xyz), np.inf, np.float32)
    indices = np.zeros(count, np.int64)
    taken = 0
    for step in range(count):
        indices[step] = taken
        distances = spare if squared is None else squared[step]
        np.subtract(planes, planes[:, taken, None], out=difference)
        np.square(difference, out=difference)
        np.add(difference[0], difference[1], out=distances)
        np.add(distances, difference[2], out=distances)
        np.minimum(nearest, distances, out=nearest)
        taken = int(nearest.argmax())
    return indices


def farthest_in_step(xyz: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `farthest_points`, with all clouds in each step."""
    planes = xyz.permute(2, 0, 1).contiguous()
    axes, clouds, points = planes.shape
    squared = xyz.new_empty(clouds, count, points)
    difference = torch.empty_like(planes)
    nearest = xyz.new_full((clouds, points), torch.inf)
    taken = torch.zeros(clouds, 1, dtype=torch.long, device=xyz.device)
    indices = []
    for step in range(count):
        indices.append(taken)
        torch.sub(planes, planes.gather(2, taken.expand(axes, clouds, 1)), out=difference)
        torch.sum(difference.square_(), 0, out=squared[:, step])
        torch.minimum(nearest, squared[:, step], out=nearest)
        taken = nearest.argmax(1, keepdim=True)
    return torch.cat(indices, 1), squared
