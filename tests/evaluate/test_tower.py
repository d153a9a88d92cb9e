"""Through which tower a modality enters: the one that the frozen row measures, unless the task says another one."""

import numpy as np
import pandas as pd
import pytest

from pipeline.connect import ConnectedSpace
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
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
