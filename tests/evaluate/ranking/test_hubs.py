"""Hub correction: its definition, what it does to a hub, and which data it may know."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.evaluate.ranking import hubs
from pipeline.evaluate.ranking.hubs import bank, corrected
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.views import Views
from tests.evaluate.samples import random_rows
from tests.evaluate.world import CONNECTIONS, build_world, embedded
from tests.makers.links import make_link


def expected(queries: np.ndarray, gallery: np.ndarray, others: np.ndarray, temperature: float) -> np.ndarray:
    """The definition in float64, one gallery row after the other."""
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    for column, row in enumerate(gallery.astype(np.float64)):
        near = np.exp(others.astype(np.float64) @ row / temperature)
        scores[:, column] -= temperature * np.log(near.mean())
    return scores


@pytest.mark.parametrize("block", [2**24, 7])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_the_scores_are_their_definition(monkeypatch: pytest.MonkeyPatch, block: int, temperature: float) -> None:
    monkeypatch.setattr(hubs, "BLOCK_SCORES", block)
    first, second, left, right = (random_rows(seed, count, 6) for seed, count in enumerate((9, 11, 30, 40)))
    views = corrected(Views((first, second)), (left, right), temperature)
    (forward, backward) = (queries @ gallery.T for queries, gallery in views.directions)
    np.testing.assert_allclose(forward, expected(first, second, left, temperature), atol=1e-5)
    np.testing.assert_allclose(backward, expected(second, first, right, temperature), atol=1e-5)


def test_a_hub_that_wins_everywhere_loses_its_place() -> None:
    draw = np.random.default_rng(0)
    # Queries scatter around a common direction, which is the hub; each has a partner of its own, a little less near.
    common = np.eye(8, dtype=np.float32)[0]
    partners = np.eye(8, dtype=np.float32)[1:]
    queries = 0.75 * common + 0.66 * partners
    gallery = np.vstack([common, partners])
    others = (0.75 * common + 0.66 * partners[draw.integers(7, size=200)]).astype(np.float32)
    views = Views((queries, gallery))
    assert set((queries @ gallery.T).argmax(1)) == {0}
    asking, lowered = corrected(views, (others, gallery), 0.05).forward
    assert (asking @ lowered.T).argmax(1).tolist() == list(range(1, 8))


def test_the_bank_is_the_connections_own_data_of_that_modality(tmp_path: Path) -> None:
    folders = build_world(tmp_path)
    connection = CONNECTIONS["audio_image"]
    for modality, space, corpus, count in (("image", "clip", "photos", 150), ("text", "clap", "captions", 240)):
        found = bank(connection, modality, space, folders, 1000)
        np.testing.assert_array_equal(found, embedded(space, corpus, modality, count))
    assert len(bank(connection, "audio", "clap", folders, 40)) == 40
    assert bank(connection, "audio", "clip", folders, 1000) is None
    assert bank(connection, "point", "ulip", folders, 1000) is None
    others = make_link("united", ("clip", "ulip"), "image", {"clip": "text", "ulip": "point"}, "clip")
    united = (others, make_link("united", base="clip"))
    assert len(bank(united, "audio", "clap", folders, 1000)) == 160


def test_the_corrected_method_stands_beside_the_plain_one(tmp_path: Path) -> None:
    folders = build_world(tmp_path)
    task = {"task": "retrieval", "corpus": "heldout", "modalities": ["audio", "image"], "connections": ["audio_image"]}
    found = {}
    for name, more in (("plain", {}), ("both", {"hub_temperature": 0.1})):
        settings = EvaluateSettings.model_validate({"bootstrap": 100, "tasks": {"t": {**task, **more}}})
        evaluate(settings, folders, CONNECTIONS, 3)
        found[name] = pd.read_parquet(folders.metrics / "metrics.parquet")
    both = found["both"].set_index(["method", "direction", "metric"])
    plain = found["plain"].set_index(["method", "direction", "metric"])
    assert set(found["both"].method) == {"cmcr", "cmcr_hubs"}
    pd.testing.assert_frame_equal(both.loc[["cmcr"]], plain)
    space = ConnectedSpace.load(folders.models / "audio_image")
    project = lambda one, corpus, modality, count: space.project(one, embedded(one, corpus, modality, count)).numpy()  # noqa: E731
    audio, image = project("clap", "heldout", "audio", 40), project("clip", "heldout", "image", 40)
    scores = expected(audio, image, project("clap", "sounds", "audio", 160), 0.1)
    first = np.mean([(row > row[at]).sum() < 5 for at, row in enumerate(scores)])
    assert both.value["cmcr_hubs", "audio->image", "R@5"] == pytest.approx(first)
