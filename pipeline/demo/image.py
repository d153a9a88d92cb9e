"""Pictures of scenes: objects in a row before a background, motion as a streak behind them."""

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.factors import FACTORS
from pipeline.demo.scenes import Scenes

Array = NDArray[np.float32]
Rows = NDArray[np.int64]

SIDE = 32
RADII = np.array([4.0, 5.4, 7.2], np.float32)
COLUMNS = np.array([[16.0, 0, 0], [9.5, 22.5, 0], [6.0, 16.0, 26.0]], np.float32)
COLOURS = np.array(
    [[0.90, 0.15, 0.12], [0.15, 0.80, 0.20], [0.15, 0.25, 0.95], [0.95, 0.90, 0.15],
     [0.60, 0.15, 0.80], [1.00, 0.55, 0.10], [0.15, 0.90, 0.90], [0.97, 0.97, 0.97]], np.float32)  # fmt: skip
BACKGROUNDS = np.array([[0.08, 0.08, 0.16], [0.18, 0.36, 0.16], [0.50, 0.43, 0.30], [0.32, 0.45, 0.62]], np.float32)
STREAK = np.array([1.0, 0.97, 0.85], np.float32)
NOISE = 0.02

_MATERIAL = {name: index for index, name in enumerate(FACTORS["material"])}
_Y, _X = (grid.astype(np.float32) + 0.5 for grid in np.mgrid[0:SIDE, 0:SIDE])


def render_images(scenes: Scenes, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Render N scenes as RGB pictures [N, 32, 32, 3], 0 to 255."""
    count = len(scenes)
    levels = scenes.levels
    canvas = _background(levels["background"], generator)
    radius = RADII[levels["size"]] * _uniform(generator, count, 0.95, 1.05)
    height = _uniform(generator, count, 13.5, 18.5)
    for place in range(3):
        # Every object is drawn from the generator in every scene, so that one scene's count moves no other scene.
        centre_x = COLUMNS[levels["count"], place] + _uniform(generator, count, -0.8, 0.8)
        centre_y = height + _uniform(generator, count, -1.0, 1.0)
        angle = _uniform(generator, count, -0.15, 0.15)
        grain = generator.random((count, SIDE, SIDE), dtype=np.float32)
        rows = np.flatnonzero(levels["count"] >= place)
        x = _X - centre_x[rows, None, None]
        y = _Y - centre_y[rows, None, None]
        size = radius[rows, None, None]
        _streak(canvas, rows, levels["motion"][rows], x / size, y, size)
        cos, sin = np.cos(angle[rows])[:, None, None], np.sin(angle[rows])[:, None, None]
        u, v = (cos * x + sin * y) / size, (cos * y - sin * x) / size
        distance = _distance(levels["shape"][rows], u, v)
        colour, opacity = _surface(levels, rows, u, v, distance * size, grain[rows])
        cover = (opacity * np.clip(0.5 - distance * size, 0, 1))[..., None]
        canvas[rows] += cover * (colour - canvas[rows])
    canvas += NOISE * generator.standard_normal(canvas.shape, dtype=np.float32)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def _uniform(generator: np.random.Generator, count: int, low: float, high: float) -> Array:
    return generator.uniform(low, high, count).astype(np.float32)


def _background(levels: Rows, generator: np.random.Generator) -> Array:
    """Plain colour under a light gradient of random direction, [N, 32, 32, 3]."""
    count = len(levels)
    slope_x, slope_y = _uniform(generator, count, -0.15, 0.15), _uniform(generator, count, -0.15, 0.15)
    light = 1 + slope_x[:, None, None] * (_X / 16 - 1) + slope_y[:, None, None] * (_Y / 16 - 1)
    return BACKGROUNDS[levels][:, None, None, :] * light[..., None]


def _streak(canvas: Array, rows: Rows, motion: Rows, u: Array, y: Array, size: Array) -> None:
    """Blend the streak that a rising object leaves below it, and a falling one above it."""
    below = np.where(motion == 1, 1, -1).astype(np.float32)[:, None, None] * y
    fade = np.clip(1.3 - below / 16, 0, 1) * np.clip(below, 0, 1) * (np.abs(u) < 0.6)
    fade *= (motion != 0)[:, None, None] * 0.85
    canvas[rows] += fade[..., None] * (STREAK - canvas[rows])


def _box(u: Array, v: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _distance(shapes: Rows, u: Array, v: Array) -> Array:
    """Signed distance to the outline in units of the radius, negative inside, [N, 32, 32]."""
    distance = np.empty_like(u)
    for shape, name in enumerate(FACTORS["shape"]):
        chosen = np.flatnonzero(shapes == shape)
        if len(chosen):
            distance[chosen] = _outline(name, u[chosen], v[chosen])
    return distance


def _outline(name: str, u: Array, v: Array) -> Array:
    length = np.sqrt(u * u + v * v)
    if name == "ball":
        return length - 0.95
    if name == "cube":
        return _box(u, v, 0.85, 0.85)
    if name == "cone":
        return np.maximum(v - 0.85, (1.9 * np.abs(u) - 1.05 * (v + 1.05)) / 2.17)
    if name == "cylinder":
        return _box(u, v, 0.42, 1.15)
    if name == "ring":
        return np.abs(length - 0.74) - 0.26
    if name == "cross":
        return np.minimum(_box(u, v, 1.05, 0.28), _box(u, v, 0.28, 1.05))
    if name == "star":
        return length - 0.68 - 0.4 * np.cos(5 * np.arctan2(u, -v))
    return (np.abs(u) / 1.15 + np.abs(v) / 0.62 - 1) * 0.55


def _surface(
    levels: dict[str, Rows], rows: Rows, u: Array, v: Array, depth: Array, grain: Array
) -> tuple[Array, Array]:
    """Colour [N, 32, 32, 3] and opacity [N, 32, 32] of the material; `depth` is the distance in pixels."""
    colour = COLOURS[levels["colour"][rows]][:, None, None, :]
    material = levels["material"][rows][:, None, None]

    def is_made_of(name: str) -> NDArray[np.bool_]:
        return material == _MATERIAL[name]

    glint = np.exp(-((u + 0.3) ** 2 + (v + 0.3) ** 2) / 0.12)
    rim = np.clip(1 - np.abs(depth + 0.6), 0, 1)
    shade = np.ones_like(u)
    shade = np.where(is_made_of("metal"), 0.75 + 0.25 * u, shade)
    shade = np.where(is_made_of("wood"), np.where(_Y % 4 < 2, 0.9, 0.4), shade)
    shade = np.where(is_made_of("stone"), np.where(grain < 0.4, 0.25, 0.95), shade)
    shade = np.where(is_made_of("rubber"), 0.45, shade)
    white = np.where(is_made_of("metal"), 0.95 * glint, 0)
    white = np.where(is_made_of("glass"), 0.9 * rim, white)
    white = np.where(is_made_of("paper"), np.where(_X % 4 < 2, 0.85, 0.0), white).astype(np.float32)
    opacity = np.where(is_made_of("glass"), 0.35 + 0.65 * rim, 1).astype(np.float32)
    lit = colour * shade[..., None]
    return (lit + white[..., None] * (1 - lit)).astype(np.float32), opacity
