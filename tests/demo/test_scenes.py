"""Scenes: disjoint, distinct where rank 1 must be clear, and independent of the sizes of other corpora."""

import itertools

import numpy as np
import pytest

from pipeline.demo.factors import FACTORS, SHARED_BY_IMAGE_AND_AUDIO, SHARED_BY_IMAGE_AND_POINT
from pipeline.demo.scenes import CORPORA, LARGEST_CORPUS, draw, point_gallery


def rows(scenes, factors=tuple(FACTORS)):
    return list(zip(*(scenes.levels[factor].tolist() for factor in factors), strict=True))


def test_no_two_scenes_of_the_world_have_the_same_factors():
    drawn = [set(rows(draw(3, corpus, 1000))) for corpus in CORPORA]
    assert all(len(scenes) == 1000 for scenes in drawn)
    assert not any(first & second for first, second in itertools.combinations(drawn, 2))


def test_every_factor_takes_each_of_its_levels_equally_often():
    scenes = draw(0, "photos", 8192)
    for factor, levels in FACTORS.items():
        counts = np.bincount(scenes.levels[factor], minlength=len(levels))
        assert len(counts) == len(levels)
        assert abs(counts / 8192 * len(levels) - 1).max() < 0.15


def test_heldout_scenes_differ_in_what_image_and_audio_share():
    assert len(set(rows(draw(0, "heldout", 800), SHARED_BY_IMAGE_AND_AUDIO))) == 800


def test_the_point_gallery_differs_in_what_image_and_points_share():
    scenes = draw(0, "heldout", 800)
    marks = point_gallery(scenes, 400)
    chosen = [row for row, marked in zip(rows(scenes, SHARED_BY_IMAGE_AND_POINT), marks, strict=True) if marked]
    assert len(chosen) == len(set(chosen)) == 400


def test_a_larger_corpus_begins_with_the_smaller_one():
    assert rows(draw(0, "photos", 300).part(0, 100)) == rows(draw(0, "photos", 100))


def test_another_seed_gives_other_scenes():
    assert rows(draw(0, "photos", 100)) != rows(draw(1, "photos", 100))


def test_more_scenes_than_there_are_combinations_are_refused():
    with pytest.raises(ValueError, match="asked for"):
        draw(0, "photos", LARGEST_CORPUS + 1)


def test_keys_have_no_dots_and_are_unique():
    keys = [key for corpus in CORPORA for key in draw(0, corpus, 100).keys]
    assert len(set(keys)) == len(keys)
    assert not any("." in key for key in keys)
