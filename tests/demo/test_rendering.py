"""Renderers: each factor changes what it should, and nothing that the modality cannot perceive."""

import numpy as np
import pytest

from pipeline.demo.audio import FRAMES, RATE, render_sounds
from pipeline.demo.captions import WORDS, caption_sets, write_captions
from pipeline.demo.factors import FACTORS, HEARD, SEEN, SHARED_BY_IMAGE_AND_POINT
from pipeline.demo.image import render_images
from pipeline.demo.points import render_points
from pipeline.demo.scenes import Scenes, draw

RENDERERS = {
    "image": (render_images, SEEN),
    "audio": (render_sounds, HEARD),
    "points": (render_points, SHARED_BY_IMAGE_AND_POINT),
}


def scene(**levels):
    return Scenes("photos", ("a",), {factor: np.array([levels.get(factor, 0)]) for factor in FACTORS})


def render(kind, scenes):
    return RENDERERS[kind][0](scenes, np.random.default_rng(0))


@pytest.mark.parametrize("kind", RENDERERS)
@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_shows_exactly_where_it_can_be_perceived(kind, factor):
    changed = {factor: len(FACTORS[factor]) - 1}
    same = np.array_equal(render(kind, scene(count=1)), render(kind, scene(**{"count": 1, **changed})))
    assert same == (factor not in RENDERERS[kind][1])


def test_shapes_and_types():
    scenes = draw(0, "photos", 5)
    assert render("image", scenes).shape == (5, 32, 32, 3) and render("image", scenes).dtype == np.uint8
    assert render("audio", scenes).shape == (5, FRAMES) and render("audio", scenes).dtype == np.int16
    assert render("points", scenes).shape == (5, 96, 6) and render("points", scenes).dtype == np.float32


def test_a_larger_object_sounds_lower():
    def pitch(size):
        wave = render("audio", scene(size=size, loudness=2))[0].astype(float)
        return np.abs(np.fft.rfft(wave)).argmax() * RATE / FRAMES

    assert pitch(0) > 1.5 * pitch(1) > 2 * pitch(2)


def test_two_solids_reach_further_than_one_and_keep_their_size():
    one, two = (render("points", scene(count=count))[0, :, :3] for count in (0, 1))
    assert np.ptp(two[:, :2], axis=0).max() > 2 * np.ptp(one[:, :2], axis=0).max()
    assert np.ptp(two[:, 2]) == pytest.approx(np.ptp(one[:, 2]), rel=0.3)


def test_a_full_caption_says_every_factor_of_its_scene():
    scenes = draw(0, "heldout", 50)
    for row, caption in enumerate(write_captions(scenes, "full", np.random.default_rng(0))):
        words = set(caption.split())
        for factor, levels in scenes.levels.items():
            assert words & {word for dialect in WORDS[factor][levels[row]] for word in dialect}


@pytest.mark.parametrize(
    ("style", "absent"),
    [("image", ("ambience", "loudness")), ("audio", ("colour", "background")), ("point", ("material", "motion"))],
)
def test_nobody_says_what_they_cannot_perceive(style, absent):
    said = {word for text in caption_sets(draw(0, "captions", 500), 0, style, 1)[0] for word in text.split()}
    assert not said & {word for factor in absent for pair in WORDS[factor] for dialect in pair for word in dialect}


def test_captions_leave_things_out_and_differ_between_sets():
    first, second = caption_sets(draw(0, "captions", 500), 0, "image", 2)
    assert sum(one != other for one, other in zip(first, second, strict=True)) > 400
    lengths = [len(text.split()) for text in first]
    assert min(lengths) < 5 < max(lengths)


def test_no_word_means_two_things():
    owners: dict[str, set[tuple[str, int]]] = {}
    for factor, levels in WORDS.items():
        for level, pair in enumerate(levels):
            for word in (word for dialect in pair for word in dialect):
                owners.setdefault(word, set()).add((factor, level))
    assert [word for word, meanings in owners.items() if len(meanings) > 1] == []
