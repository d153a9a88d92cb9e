"""Scenes in chunks, each with a generator of its own, so that no output depends on who renders which chunk."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.scenes import Scenes
from pipeline.hashing import seed_from

CHUNK = 256
Renderer = Callable[[Scenes, np.random.Generator], NDArray]


def chunks(scenes: Scenes, seed: int, what: str) -> Iterator[tuple[Scenes, np.random.Generator]]:
    """Yield all of `scenes` in chunks with the generator for rendering `what` from them."""
    for start in range(0, len(scenes), CHUNK):
        yield chunk_at(scenes, seed, what, start)


def chunk_at(scenes: Scenes, seed: int, what: str, start: int) -> tuple[Scenes, np.random.Generator]:
    """The chunk that begins at `start`, a multiple of `CHUNK`, and the generator for rendering `what` from it."""
    generator = np.random.default_rng(seed_from(seed, scenes.corpus, what, start))
    return scenes.part(start, start + CHUNK), generator


def render_all(renderer: Renderer, scenes: Scenes, seed: int, what: str) -> NDArray:
    """What `renderer` makes of all N scenes as one array [N, ...]."""
    # Threads, because NumPy lets go of the interpreter in its loops; the order and so the bytes stay.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(lambda one: renderer(*one), chunks(scenes, seed, what))))
