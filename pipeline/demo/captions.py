"""What people say about a scene: templated captions in the dialects of those who see and those who hear."""

import numpy as np

from pipeline.demo.chunks import chunks
from pipeline.demo.factors import FACTORS
from pipeline.demo.scenes import Scenes

# Words of those who see and of those who hear, for each level of each factor in the order of FACTORS.
_Words = tuple[tuple[str, ...], tuple[str, ...]]
WORDS: dict[str, tuple[_Words, ...]] = {
    "shape": (
        (("ball", "sphere"), ("globe", "orb")),
        (("cube", "box"), ("block", "crate")),
        (("cone", "pyramid"), ("funnel", "spike")),
        (("cylinder", "column"), ("pipe", "tube")),
        (("ring", "torus"), ("hoop", "loop")),
        (("cross", "plus"), ("beam", "girder")),
        (("star", "asterisk"), ("rattle", "spur")),
        (("diamond", "lozenge"), ("gem", "jewel")),
    ),
    "material": (
        (("metal", "shiny"), ("ringing", "metallic")),
        (("wooden", "banded"), ("knocking", "timber")),
        (("glass", "transparent"), ("tinkling", "crystal")),
        (("stone", "speckled"), ("clacking", "gritty")),
        (("rubber", "dark"), ("thudding", "dull")),
        (("paper", "striped"), ("rustling", "crackling")),
    ),
    "size": (
        (("small", "tiny"), ("high", "shrill")),
        (("medium", "ordinary"), ("middle", "mellow")),
        (("large", "big"), ("deep", "low")),
    ),
    "count": (
        (("one", "single"), ("once", "lone")),
        (("two", "pair"), ("twice", "double")),
        (("three", "trio"), ("thrice", "triple")),
    ),
    "motion": (
        (("still", "resting"), ("steady", "constant")),
        (("rising", "climbing"), ("ascending", "upward")),
        (("falling", "dropping"), ("descending", "downward")),
    ),
    "colour": tuple(((name,), (name,)) for name in FACTORS["colour"]),
    "background": (
        (("night",), ("night",)),
        (("grass", "lawn"), ("grass", "lawn")),
        (("sand", "beach"), ("sand", "beach")),
        (("sky", "air"), ("sky", "air")),
    ),
    "ambience": (
        (("silence",), ("silence", "quiet")),
        (("wind",), ("wind", "breeze")),
        (("rain",), ("rain", "drizzle")),
        (("hum",), ("hum", "buzz")),
    ),
    "loudness": (
        (("soft",), ("soft", "faint")),
        (("moderate",), ("moderate", "plain")),
        (("loud",), ("loud", "noisy")),
    ),
}

_SAID = {"shape": 0.97, "material": 0.6, "size": 0.6, "count": 0.7, "motion": 0.6}
# How often a caption of each style mentions each factor: captions are incomplete, as real ones are.
MENTIONED: dict[str, dict[str, float]] = {
    "image": {**_SAID, "colour": 0.5, "background": 0.35},
    "audio": {**_SAID, "ambience": 0.35, "loudness": 0.35},
    "point": {"shape": 0.97, "size": 0.6, "count": 0.7, "colour": 0.5},
    "full": dict.fromkeys(FACTORS, 1.0),
    "prompt": {**_SAID, "shape": 1.0},
}
# How often a word comes from the dialect of those who hear.
HEARING_WORDS = {"image": 0.15, "audio": 0.85, "point": 0.15, "full": 0.5, "prompt": 0.15}
OPENINGS = {
    "image": ("a photo of", "a picture of", "there is"),
    "audio": ("a sound of", "a recording of", "there is"),
    "point": ("a model of", "a scan of", "there is"),
    "full": ("there is",),
    "prompt": ("a photo of", "a model of", "there is"),
}
# The order of the phrase; a word in front of a factor is said only with it.
ORDER = (("", "loudness"), ("", "count"), ("", "size"), ("", "colour"), ("", "material"), ("", "shape"),
         ("", "motion"), ("over", "background"), ("with", "ambience"))  # fmt: skip
_MOST_WORDS = max(len(words) for levels in WORDS.values() for pair in levels for words in pair)


def write_captions(scenes: Scenes, style: str, generator: np.random.Generator) -> list[str]:
    """One caption for each of N scenes, in the `style` of ``image``, ``audio``, ``point``, ``full`` or ``prompt``."""
    count = len(scenes)
    opening = generator.integers(len(OPENINGS[style]), size=count)
    columns = [[OPENINGS[style][index] for index in opening]]
    for front, factor in ORDER:
        # Drawn for every factor, said or not, so that the styles stay comparable draw by draw.
        said = generator.random(count) < MENTIONED[style].get(factor, 0.0)
        hearing = (generator.random(count) < HEARING_WORDS[style]).astype(int)
        synonym = generator.integers(_MOST_WORDS * 6, size=count)
        columns.append(_words(front, WORDS[factor], scenes.levels[factor], said, hearing, synonym))
    return [" ".join(filter(None, words)) for words in zip(*columns, strict=True)]


def caption_sets(scenes: Scenes, seed: int, style: str, count: int) -> list[list[str]]:
    """`count` independent sets of captions, each with one caption for every scene."""
    return [
        [
            text
            for chunk, generator in chunks(scenes, seed, f"text-{number}")
            for text in write_captions(chunk, style, generator)
        ]
        for number in range(count)
    ]


def _words(
    front: str,
    words: tuple[_Words, ...],
    levels: np.ndarray,
    said: np.ndarray,
    hearing: np.ndarray,
    synonym: np.ndarray,
) -> list[str]:
    """The word for one factor in each caption; empty where the factor is not said."""
    spoken = []
    for level, is_said, dialect, draw in zip(levels, said, hearing, synonym, strict=True):
        choice = words[level][dialect]
        word = choice[draw % len(choice)]
        spoken.append((f"{front} {word}" if front else word) if is_said else "")
    return spoken
