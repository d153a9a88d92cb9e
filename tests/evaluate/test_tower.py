"""Through which tower a modality enters: the one that the frozen row measures, unless the task says another one."""

import numpy as np
import pandas as pd
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.links import Keep
from tests.evaluate.world import CONNECTIONS, CORPORA, build_world, embedded

TASK = {"task": "retrieval", "corpus": "heldout", "modalities": ["audio", "text"], "space": "clap"}
TASK |= {"connections": ["audio_image", "oracle"]}


@pytest.mark.parametrize(
    ("changes", "tower"),
    [({}, "clap"), ({"through": {"text": "clip"}}, "clip"), ({"space": ""}, "clip"), ({"space": "clip"}, "clip")],
)
def test_text_enters_every_row_by_the_tower_of_the_frozen_row(tmp_path, changes, tower):
    folders = build_world(tmp_path)
    task = {**TASK, **changes}
    if task["space"] == "clip":  # CLIP has no audio: its own row would be another task's
        task |= {"modalities": ["image", "text"]}
    first, home = ("image", "clip") if task["space"] == "clip" else ("audio", "clap")
    settings = EvaluateSettings.model_validate({"bootstrap": 0, "examples": 0, "tasks": {"kept": task}})
    evaluate(settings, folders, CONNECTIONS, 3)
    metrics = pd.read_parquet(folders.metrics / "metrics.parquet")
    ours = metrics[metrics.method != "frozen"]
    assert set(ours.through) == {f"{first} by {home}, text by {tower}"}
    assert set(ours.connection) == {"audio_image", "oracle"}
    frozen = metrics[metrics.method == "frozen"]
    assert set(frozen.through) == ({f"{first} by {task['space']}, text by {task['space']}"} if task["space"] else set())
    for name in CONNECTIONS:
        space = ConnectedSpace.load(folders.models / name)
        sides = [(home, first), (tower, "text")]
        rows = [
            space.project(by, embedded(by, "heldout", kind, CORPORA["heldout"]), kind).numpy() for by, kind in sides
        ]
        scores = rows[0] @ rows[1].T
        right = np.diag(scores)[:, None]
        expected = np.mean((scores > right).sum(1) < 5)
        row = ours[(ours.connection == name) & (ours.direction == f"{first}->text") & (ours.metric == "R@5")]
        assert row.value.item() == pytest.approx(expected)


def test_with_own_blocks_it_also_enters_by_every_tower_and_the_row_says_so(tmp_path):
    folders = build_world(tmp_path)
    kept = {
        name: [link.model_copy(update={"keep": Keep(weight=0.6)}) for link in links]
        for name, links in CONNECTIONS.items()
    }
    settings = EvaluateSettings.model_validate({"bootstrap": 20, "examples": 2, "tasks": {"kept": TASK}})
    evaluate(settings, folders, kept, 3)
    metrics = pd.read_parquet(folders.metrics / "metrics.parquet")
    plain, joined = (
        metrics[(metrics.connection == "audio_image") & (metrics.method == name)] for name in ("cmcr", "cmcr_towers")
    )
    assert set(plain.through) == {"audio by clap, text by clap"}
    assert set(joined.through) == {"audio by clap, text by clip and clap"}
    space = ConnectedSpace.load(folders.models / "audio_image", keep=0.6)
    towers = {by: embedded(by, "heldout", "text", CORPORA["heldout"]) for by in ("clip", "clap")}
    sounds = space.project("clap", embedded("clap", "heldout", "audio", CORPORA["heldout"]), "audio").numpy()
    scores = sounds @ space.project_towers(towers, "text").numpy().T
    expected = np.mean((scores > np.diag(scores)[:, None]).sum(1) < 5)
    row = joined[(joined.direction == "audio->text") & (joined.metric == "R@5")]
    assert row.value.item() == pytest.approx(expected)
    # A tower that the task names is the only one.
    named = EvaluateSettings.model_validate({"bootstrap": 0, "tasks": {"kept": {**TASK, "through": {"text": "clip"}}}})
    evaluate(named, folders, kept, 3)
    assert not pd.read_parquet(folders.metrics / "metrics.parquet").method.str.endswith("_towers").any()
