"""Point clouds of scenes: points on the surfaces of one to three coloured solids."""

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.factors import FACTORS
from pipeline.demo.scenes import Scenes

Array = NDArray[np.float32]

POINTS = 96
RADII = np.array([0.30, 0.55, 0.90], np.float32)
COLOURS = np.array(
    [[0.90, 0.15, 0.12], [0.15, 0.80, 0.20], [0.15, 0.25, 0.95], [0.95, 0.90, 0.15],
     [0.60, 0.15, 0.80], [1.00, 0.55, 0.10], [0.15, 0.90, 0.90], [0.97, 0.97, 0.97]], np.float32)  # fmt: skip
SPREAD = 1.3
NOISE = 0.03


def render_points(scenes: Scenes, generator: np.random.Generator) -> Array:
    """Render N scenes as coloured point clouds [N, 96, 6]: x, y, z (up) in units of the world, then RGB from 0 to 1."""
    count = len(scenes)
    levels = scenes.levels
    solid = _solids(levels["shape"], generator)
    yaw = generator.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)
    x, y, z = np.moveaxis(solid, -1, 0)
    solid = np.stack([np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y, z], axis=-1)
    radius = RADII[levels["size"]] * generator.uniform(0.93, 1.07, count).astype(np.float32)
    places = levels["count"][:, None] + 1
    turn = generator.uniform(0, 2 * np.pi, (count, 1)) + 2 * np.pi * (np.arange(POINTS) % places) / places
    distance = SPREAD * np.where(places > 1, 1.0, 0.3)
    layout = np.stack([distance * np.cos(turn), distance * np.sin(turn), np.zeros_like(turn)], axis=-1)
    position = solid * radius[:, None, None] + layout.astype(np.float32)
    position += NOISE * generator.standard_normal(position.shape, dtype=np.float32)
    light = generator.uniform(0.8, 1.1, (count, 1, 1)).astype(np.float32)
    colour = COLOURS[levels["colour"]][:, None, :] * light
    colour = colour + NOISE * generator.standard_normal(position.shape, dtype=np.float32)
    return np.concatenate([position, np.clip(colour, 0, 1)], axis=-1).astype(np.float32)


def _solids(shapes: NDArray[np.int64], generator: np.random.Generator) -> Array:
    """Points on the surface of each scene's solid of about unit radius, [N, 96, 3]."""
    solid = np.empty((len(shapes), POINTS, 3), np.float32)
    direction = generator.standard_normal(solid.shape, dtype=np.float32)
    turn = generator.uniform(0, 2 * np.pi, solid.shape[:2]).astype(np.float32)
    across = generator.uniform(-1, 1, solid.shape).astype(np.float32)
    face = generator.integers(6, size=solid.shape[:2])
    for shape, name in enumerate(FACTORS["shape"]):
        rows = np.flatnonzero(shapes == shape)
        solid[rows] = _surface(name, direction[rows], turn[rows], across[rows], face[rows])
    return solid


def _surface(name: str, direction: Array, turn: Array, across: Array, face: NDArray[np.int64]) -> Array:
    """Map draws for n clouds to a surface: `direction` and `across` [n, P, 3], `turn` and `face` [n, P]."""
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    height = across[..., :1]
    if name == "ball":
        return direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    if name == "cube":
        return _box(across, face) * 0.8
    if name == "cone":
        base = np.sqrt(np.abs(across[..., 1:2]))
        lateral = np.concatenate([circle * (1 - height) / 2, height], axis=-1)
        bottom = np.concatenate([circle * base, np.full_like(height, -1)], axis=-1)
        return np.where(face[..., None] < 4, lateral, bottom)
    if name == "cylinder":
        radius = np.where(face[..., None] < 4, 1, np.abs(across[..., 1:2])) * 0.45
        level = np.where(face[..., None] < 4, height, np.sign(height))
        return np.concatenate([circle * radius, level * 1.1], axis=-1)
    if name == "ring":
        tube = np.pi * across[..., 1:2]
        return np.concatenate([circle * (0.8 + 0.25 * np.cos(tube)), 0.25 * np.sin(tube)], axis=-1)
    if name == "cross":
        bars = np.array([[1.1, 0.22, 0.22], [0.22, 1.1, 0.22], [0.22, 0.22, 1.1]], np.float32)
        return across * bars[face % 3]
    if name == "star":
        reach = 0.65 + 0.4 * np.cos(5 * turn)[..., None]
        return np.concatenate([circle[..., :1] * reach, 0.2 * height, circle[..., 1:] * reach], axis=-1)
    return direction / np.abs(direction).sum(axis=-1, keepdims=True) * np.array([1.4, 1.4, 0.7], np.float32)


def _box(across: Array, face: NDArray[np.int64]) -> Array:
    """Points of the cube [-1, 1]^3 pushed to one of its six faces."""
    axis = np.arange(3) == (face % 3)[..., None]
    return np.where(axis, np.where(face < 3, -1.0, 1.0)[..., None], across).astype(np.float32)
