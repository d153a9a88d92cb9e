"""Which method on my data: paired intervals, signs without pairs, topics, and the sentence that follows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluate.advice.advise import by_pairs, by_signs
from pipeline.evaluate.advice.paired import Rival, rivals
from pipeline.evaluate.advice.signs import Signs, signs
from pipeline.evaluate.advice.topics import covered

ITEMS = 300


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def table(hits: dict[str, np.ndarray]) -> pd.DataFrame:
    """Ranks of methods by which items they find, in both directions."""
    rows = [
        pd.DataFrame(
            {"connection": name, "method": f"{name}!", "direction": way, "item": np.arange(ITEMS), "rank": np.where(found, 3, 40)}
        )
        for name, found in hits.items()
        for way in ("a->b", "b->a")
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def test_differences_are_paired_and_the_best_is_first():
    draw = np.random.default_rng(0)
    good = draw.random(ITEMS) < 0.5
    worse = good & (draw.random(ITEMS) < 0.85)  # misses some of what the best finds and nothing else differs
    noise = np.roll(good, 7)  # finds others, one less
    noise[np.flatnonzero(noise)[0]] = False
    found = rivals(
        table({"noise": noise, "worse": worse, "good": good}),
        [(name, name, f"{name}!") for name in ("noise", "worse", "good")],
        10, 2000, 0,
    )  # fmt: skip
    by_name = {rival.name: rival for rival in found}
    assert found[0].name == "good" and found[0].behind == found[0].low == found[0].high == 0
    assert [rival.value for rival in found] == sorted((rival.value for rival in found), reverse=True)
    assert by_name["worse"].value == pytest.approx(worse.mean())
    # Two independent intervals would be about eight points wide on either side.
    lost = (good.mean() - worse.mean(), np.std(good * 1.0 - worse) / np.sqrt(ITEMS))
    assert by_name["worse"].behind == pytest.approx(lost[0])
    assert by_name["worse"].low == pytest.approx(lost[0] - 1.96 * lost[1], abs=0.005)
    assert not by_name["worse"].is_as_good and by_name["noise"].is_as_good


def test_signs_are_their_definition():
    draw = np.random.default_rng(1)
    first, second = unit(draw.normal(size=(40, 6))), unit(draw.normal(size=(50, 6)))
    scores = first @ second.T
    onward = [set(np.argsort(-row)[:10]) for row in scores]
    back = [set(np.argsort(-row)[:10]) for row in scores.T]
    both = sum(i in back[j] for i in range(40) for j in onward[i])
    found = signs(first, second)
    assert found.agreement == pytest.approx((both / 400 + both / 500) / 2)

    def spread(lists, size):
        counts = np.bincount([item for chosen in lists for item in chosen], minlength=size)
        shares = counts[counts > 0] / counts.sum()
        return np.exp(-(shares * np.log(shares)).sum()) / size

    assert found.reached == pytest.approx((spread(onward, 50) + spread(back, 40)) / 2)
    same = signs(first, first)
    hubs = signs(unit(first + 3 * first[0]), unit(second + 3 * second[0]))
    assert same.agreement > found.agreement and hubs.reached < found.reached


def world(draw: np.random.Generator, topics: np.ndarray, centres: np.ndarray, gap: np.ndarray) -> np.ndarray:
    return unit(
        centres[topics] + 0.5 * draw.normal(size=(len(topics), centres.shape[1])) / np.sqrt(centres.shape[1]) + gap
    )


def test_topics_of_which_no_text_speaks_are_not_covered():
    draw = np.random.default_rng(2)
    centres = unit(draw.normal(size=(96, 128)))
    # The gap between modalities is orthogonal to what varies within one (Zhang et al. 2023, arXiv 2302.04269).
    gap = draw.normal(size=128)
    gap -= np.linalg.lstsq(centres.T, gap, rcond=None)[0] @ centres
    gap *= 0.8 / np.linalg.norm(gap)
    memory = world(draw, draw.integers(96, size=3000), centres, gap)
    shares = [
        covered(memory, world(draw, draw.integers(first, 96, size=1500), centres, -gap), 0) for first in (0, 48, 84)
    ]
    assert shares[0] > 0.95 and 0.5 < shares[1] < 0.9 and shares[2] < 0.5
    # Few texts about everything cover it: it is not their number that counts.
    assert covered(memory, world(draw, draw.integers(96, size=400), centres, -gap), 0) > 0.9


def test_a_method_that_trains_nothing_is_preferred_where_items_cannot_tell():
    draw = np.random.default_rng(3)
    base = draw.random(ITEMS) < 0.5
    found = rivals(
        table({"trained": base | (draw.random(ITEMS) < 0.01), "bridged": base}),
        [("trained", "trained", "trained!"), ("bridged", "bridged", "bridged!")], 10, 500, 0,
    )  # fmt: skip
    assert "Take bridged: nothing is trained" in by_pairs(found, {"bridged"}, {"bridged", "trained"}, ITEMS)
    assert by_pairs(found, set(), {"bridged", "trained"}, ITEMS).startswith("Take trained: the best on 300")
    clear = rivals(
        table({"trained": np.ones(ITEMS, bool), "bridge": base}),
        [("trained", "trained", "trained!"), ("bridge", "bridge", "bridge!")], 10, 500, 0,
    )  # fmt: skip
    assert "Take trained: the best" in by_pairs(clear, {"bridge"}, {"trained"}, ITEMS)
    assert "Take bridge (a baseline so far: add a connection with `method: bridge`" in by_pairs(
        clear[::-1], {"bridge"}, {"trained"}, ITEMS
    )
    ridge = [replace(rival, name="ridge") for rival in clear[::-1]]
    assert "Take ridge (a baseline, and no connection is better" in by_pairs(ridge, {"ridge"}, {"trained"}, ITEMS)


def test_nothing_is_recommended_on_few_items_and_a_tie_is_called_one():
    """Three items that all fall to one side give an interval from 100 to 100 points, which is no evidence."""
    certain = [Rival("good", 1.0, 0.0, 0.0, 0.0), Rival("bad", 0.0, 1.0, 1.0, 1.0)]
    for items, said in ((3, "3 held-out items cannot"), (1, "1 held-out item cannot")):
        assert by_pairs(certain, set(), {"good", "bad"}, items).startswith(said)
    assert by_pairs(certain, set(), {"good", "bad"}, 20).startswith("Take good: the best on 20")
    tied = [Rival(name, 0.8, 0.0, 0.0, 0.0) for name in ("one", "other")]
    said = by_pairs(tied, set(), {"one", "other"}, 120)
    assert said == "Take one: none is better on 120 held-out items. other may be as good."
    easy = [replace(rival, value=1.0) for rival in tied]
    assert "2 methods find every item" in by_pairs(easy, set(), {"one", "other"}, 120)
    assert "2 methods find every item" in by_pairs(easy, {"other"}, {"one", "other"}, 120)


def test_without_pairs_the_advice_says_that_it_is_weak():
    said = by_signs({"a": Signs(0.7, 0.8), "bridged": Signs(0.6, 0.8)}, {"bridged"})
    assert (
        said.startswith("Start with bridged. No held-out pair has been measured; a agrees most")
        and "no measurement" in said
    )
    said = by_signs({"a": Signs(0.7, 0.8)}, (), by_class=True)
    assert "Right answers of this task are classes" in said and "No held-out pair" not in said
