"""Sounds of scenes: one hit for each object, before the noise of its surroundings."""

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.factors import FACTORS
from pipeline.demo.scenes import Scenes

Array = NDArray[np.float32]

RATE = 8000
FRAMES = 6400
HIT = 3200
ONSETS = np.array([0.04, 0.28, 0.52]) * RATE
PITCH = np.array([760.0, 420.0, 230.0], np.float32)
PARTIALS = np.arange(1, 6, dtype=np.float32)
# For each shape the strength of its five partials and its tremolo in hertz.
SPECTRA = np.array(
    [[1, 0, 0, 0, 0], [1, 0, 0.9, 0, 0.8], [1, 0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0, 0],
     [1, 0, 0, 0.9, 0], [0.5, 1, 0, 0, 0], [1, 0.9, 0.8, 0.7, 0.6], [1, 0, 0.9, 0, 0.8]], np.float32)  # fmt: skip
TREMOLO = np.array([0, 0, 0, 0, 14, 26, 14, 26], np.float32)
# For each material: decay in seconds, stretch of the partials, how fast higher partials fade, noise burst, its decay.
DECAY = np.array([0.30, 0.09, 0.20, 0.08, 0.14, 0.12], np.float32)
STRETCH = np.array([0.0, 0.0, 0.06, 0.0, 0.0, 0.0], np.float32)
DULL = np.array([1.0, 0.85, 1.0, 0.9, 0.5, 0.9], np.float32)
BURST = np.array([0.0, 0.0, 0.25, 1.2, 0.0, 0.6], np.float32)
BURST_DECAY = np.array([0.01, 0.01, 0.008, 0.02, 0.01, 0.12], np.float32)
ATTACK = np.array([0.001, 0.001, 0.001, 0.001, 0.03, 0.01], np.float32)
GLIDE = np.array([0.0, 0.7, -0.7], np.float32)  # octaves
GLIDE_TIME = 0.06
GAIN = np.array([0.18, 0.4, 1.0], np.float32)
AMBIENCE = 0.02
SILENCE = 0.001

_TIME = np.arange(HIT, dtype=np.float32) / RATE


def render_sounds(scenes: Scenes, generator: np.random.Generator) -> NDArray[np.int16]:
    """Render N scenes as mono sound [N, 6400], 16 bit at 8 kHz."""
    count = len(scenes)
    levels = scenes.levels
    sound = np.zeros((count, FRAMES + HIT), np.float32)
    hit = _hits(levels, generator)
    for place in range(3):
        onset = (ONSETS[place] + generator.uniform(-0.015, 0.015, count) * RATE).astype(int)
        strength = generator.uniform(0.8, 1.0, count).astype(np.float32)
        for row in np.flatnonzero(levels["count"] >= place):
            sound[row, onset[row] : onset[row] + HIT] += strength[row] * hit[row]
    sound = sound[:, :FRAMES]
    level = GAIN[levels["loudness"]] * generator.uniform(0.85, 1.0, count).astype(np.float32)
    sound *= (0.6 * level / np.maximum(np.abs(sound).max(axis=1), 1e-6))[:, None]
    sound += _ambience(levels["ambience"], generator)
    return (np.clip(sound, -1, 1) * 32767).astype(np.int16)


def _hits(levels: dict[str, NDArray[np.int64]], generator: np.random.Generator) -> Array:
    """The sound of one object in each scene, [N, 3200]."""
    shape, material = levels["shape"], levels["material"]
    count = len(shape)
    pitch = PITCH[levels["size"]] * 2 ** generator.uniform(-0.04, 0.04, count).astype(np.float32)
    decay = (DECAY[material] * generator.uniform(0.85, 1.15, count).astype(np.float32))[:, None]
    octaves = GLIDE[levels["motion"]][:, None] * (0.5 - np.exp(-_TIME / GLIDE_TIME))
    frequency = pitch[:, None] * np.exp2(octaves)
    phase = np.cumsum(frequency, axis=1, dtype=np.float32) * np.float32(2 * np.pi / RATE)
    phase += generator.uniform(0, 2 * np.pi, count).astype(np.float32)[:, None]
    wave = np.zeros((count, HIT), np.float32)
    for index, partial in enumerate(PARTIALS):
        ratio = partial * (1 + STRETCH[material] * (partial - 1))
        strength = SPECTRA[shape, index] * DULL[material] ** (partial - 1)
        # What would fold back at half the rate is not played.
        audible = frequency * ratio[:, None] < 0.48 * RATE
        wave += strength[:, None] * audible * np.sin(ratio[:, None] * phase)
    swing = 0.5 + 0.5 * np.cos(2 * np.pi * TREMOLO[shape][:, None] * _TIME)
    wave *= np.exp(-_TIME / decay) * np.clip(_TIME / ATTACK[material][:, None], 0, 1) * swing
    noise = generator.standard_normal((count, HIT), dtype=np.float32)
    wave += BURST[material][:, None] * noise * np.exp(-_TIME / BURST_DECAY[material][:, None])
    return wave


def _ambience(levels: NDArray[np.int64], generator: np.random.Generator) -> Array:
    """Noise of the surroundings, [N, 6400]."""
    count = len(levels)
    noise = generator.standard_normal((count, FRAMES + 16), dtype=np.float32)
    phase = generator.uniform(0, 2 * np.pi, count).astype(np.float32)[:, None]
    level = generator.uniform(0.7, 1.3, count).astype(np.float32)[:, None] * AMBIENCE
    sums = np.cumsum(noise, axis=1)
    ambience = SILENCE * noise[:, :FRAMES]
    for index, name in enumerate(FACTORS["ambience"]):
        rows = np.flatnonzero(levels == index)
        if name == "wind":
            ambience[rows] += level[rows] * (sums[rows, 16:] - sums[rows, :-16]) / 4
        elif name == "rain":
            ambience[rows] += level[rows] * (noise[rows, 1 : FRAMES + 1] - noise[rows, :FRAMES]) / 2
        elif name == "hum":
            turns = 2 * np.pi * 100 * np.arange(FRAMES, dtype=np.float32) / RATE + phase[rows]
            ambience[rows] += level[rows] * (np.sin(turns) + np.sin(2 * turns))
    return ambience
