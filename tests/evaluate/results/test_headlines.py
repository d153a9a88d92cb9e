"""Headlines: few, short, and of every connection that is measured."""

import pytest
from pydantic import ValidationError

from pipeline.evaluate.results.headlines import headlines
from pipeline.evaluate.settings import EvaluateSettings

RECALLS = {"R@1": 0.1, "R@5": 0.5, "R@10": 0.123456, "mAP": 0.3}
RETRIEVAL = {"task": "retrieval", "corpus": "c", "modalities": ["audio", "image"]}


def settings(count: int = 2, **more: object) -> EvaluateSettings:
    tasks = {
        "first": RETRIEVAL | {"connections": [f"c{number}" for number in range(count)]},
        "second": RETRIEVAL | {"connections": ["c0", "other"]},
    }
    return EvaluateSettings.model_validate({"tasks": tasks} | more)


def measured(count: int = 2) -> dict:
    return {
        "first": {f"c{number}": {"audio->image": {"R@10": 0.0}, "mean": RECALLS} for number in range(count)},
        "second": {"c0": {"mean": {"top-1": 0.9}}, "other": {"audio->text": {"gap": 1.0, "top-1": 0.8, "top-5": 0.9}}},
    }


def test_each_connection_has_the_most_telling_number_of_its_first_task():
    assert headlines(settings(), measured()) == {"c0 R@10": 0.1235, "c1 R@10": 0.1235, "other top-1": 0.8}


def test_there_are_never_more_than_thirty():
    assert len(headlines(settings(50), measured(50))) == 30
    with pytest.raises(ValidationError, match="at most 30"):
        settings(headlines={f"n{number}": "first/c0/R@10" for number in range(31)})


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("a" * 25, "first/c0/R@10", "pattern"),
        ("a.b", "first/c0/R@10", "pattern"),
        ("a/b", "first/c0/R@10", "pattern"),
        ("a", "first/c0", "pattern"),
    ],
)
def test_what_cannot_be_a_headline(name, place, message):
    with pytest.raises(ValidationError, match=message):
        settings(headlines={name: place})


def test_what_was_not_measured_yet_is_no_number():
    assert headlines(settings(), {}) == {}
