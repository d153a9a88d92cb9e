"""A connection of a base and two leaves in the evaluation: four modalities, and a base whose numbers do not move."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.store import PAIRS, PartFolder, Rows, write_rows
from pipeline.train.run import train_connection
from pipeline.train.settings import DecoupledSettings, LeafTrainSettings
from tests.evaluate import world as evaluate_world
from tests.evaluate.world import embedded, fingerprint, write_store
from tests.makers.links import make_link

MODALITIES = {"clip": ["text", "image"], "clap": ["text", "audio"], "ulip": ["image", "point"]}
WIDTHS = {"clip": 12, "clap": 10, "ulip": 9}
LINKS = {
    "clap": ("text", "captions", {"clip": ("image", "photos"), "clap": ("audio", "sounds")}),
    "ulip": ("image", "photos", {"clip": ("text", "captions"), "ulip": ("point", "shapes")}),
}
UNIFIED = tuple(
    make_link("unified", ("clip", leaf), overlap, {space: kind for space, (kind, _) in memories.items()}, "clip")
    for leaf, (overlap, _, memories) in LINKS.items()
)
SETTINGS = LeafTrainSettings(projector=DecoupledSettings(hidden=16), epochs=4, batch_size=32, learning_rate=3e-3)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(evaluate_world, "WIDTHS", WIDTHS)
    monkeypatch.setattr(evaluate_world, "MODALITIES", MODALITIES)
    folders = Folders(*(tmp_path / name for name in ("embeddings", "models", "pairs", "metrics")))
    rows = {"captions": 120, "photos": 110, "sounds": 100, "shapes": 90, "heldout": 40}
    for space, modalities in MODALITIES.items():
        for modality in modalities:
            corpus = {"text": "captions", "image": "photos", "audio": "sounds", "point": "shapes"}[modality]
            for name in (corpus, "heldout"):
                write_store(folders, space, name, modality, [f"{name}-{i:04d}" for i in range(rows[name])])
    for leaf, (overlap, queries, memories) in LINKS.items():
        keys = [f"{queries}-{i:04d}" for i in range(rows[queries])]
        columns = {f"{space}_{overlap}": embedded(space, queries, overlap, len(keys)) for space in ("clip", leaf)}
        for space, (modality, _) in memories.items():
            columns[f"{space}_{modality}"] = embedded(space, queries, modality, len(keys)) * np.float32(0.8)
        made = {
            "method": "exmcr",
            "spaces": {space: fingerprint(space) for space in ("clip", leaf)},
            "overlap": overlap,
            "memories": {space: modality for space, (modality, _) in memories.items()},
        }
        store = PartFolder(folders.pairs / "unified" / leaf / "overlap", PAIRS, made)
        content = Rows(keys, columns, {})
        store.commit("part-00000.parquet", "", keys, [], lambda path, content=content: write_rows(path, content, {}))
        store.finish(0.0)
    links = [(link, SETTINGS) for link in UNIFIED]
    train_connection(links, "exmcr", folders.pairs, folders.models / "unified", seed=1)
    return folders


def settings(**tasks: dict[str, object]) -> EvaluateSettings:
    common = {"task": "retrieval", "corpus": "heldout", "connections": ["unified"]}
    made = {name: {**common, **task} for name, task in tasks.items()}
    return EvaluateSettings.model_validate({"bootstrap": 40, "examples": 2, "tasks": made})


def test_the_base_has_its_own_numbers_to_the_last_bit(world: Folders) -> None:
    evaluate(settings(kept={"modalities": ["image", "text"], "space": "clip"}), world, {"unified": UNIFIED}, 3)
    for table, columns in (
        ("metrics", ["value", "ci_low", "ci_high", "chance"]),
        ("ranks", ["rank", "average_precision"]),
    ):
        rows = pd.read_parquet(world.metrics / f"{table}.parquet")
        assert set(rows.method) == {"exmcr", "frozen"}
        ours, own = (rows[rows.method == method][columns].to_numpy() for method in ("exmcr", "frozen"))
        assert ours.tobytes() == own.tobytes()


def test_every_pair_of_modalities_is_measured_through_the_right_layers(world: Folders) -> None:
    pairs = [("audio", "image"), ("audio", "text"), ("point", "image"), ("audio", "point")]
    tasks = {"_".join(pair): {"modalities": list(pair)} for pair in pairs}
    tasks["leaf_text"] = {"modalities": ["audio", "text"], "through": {"text": "clap"}}
    evaluate(settings(**tasks), world, {"unified": UNIFIED}, 3)
    ranks = pd.read_parquet(world.metrics / "ranks.parquet")
    space = ConnectedSpace.load(world.models / "unified")
    homes = {"text": "clip", "image": "clip", "audio": "clap", "point": "ulip"}
    for task, spec in tasks.items():
        first, second = spec["modalities"]
        sides = []
        for modality in (first, second):
            home = spec.get("through", {}).get(modality, homes[modality])
            sides.append(space.project(home, embedded(home, "heldout", modality, 40), modality).double().numpy())
        scores = sides[0] @ sides[1].T
        expected = 1 + (scores > np.diag(scores)[:, None]).sum(1)
        found = ranks[(ranks.task == task) & (ranks.direction == f"{first}->{second}")]["rank"]
        np.testing.assert_array_equal(found, expected)


def test_a_leaf_has_the_baselines_of_its_link(world: Folders) -> None:
    task = {"modalities": ["audio", "image"], "baselines": "unified"}
    evaluate(settings(bridged=task), world, {"unified": UNIFIED}, 3)
    metrics = pd.read_parquet(world.metrics / "metrics.parquet")
    assert {"exmcr", "untrained", "procrustes", "ridge_pseudo", "two_hop_softmax", "bridge"} <= set(metrics.method)
    with pytest.raises(Exception, match="audio and image; or point and text"):
        evaluate(settings(x={"modalities": ["audio", "point"], "baselines": "unified"}), world, {"unified": UNIFIED}, 3)
