"""What a sweep says that it can compare by is what the task measures."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.report.table import is_share, metric_label
from pipeline.sweep.measurable import check_measurable
from pipeline.sweep.settings import Ablation
from tests.evaluate.tasks.test_classification import TASK as CLASSES
from tests.evaluate.tasks.test_classification import world as world  # a fixture
from tests.evaluate.test_run import KEPT
from tests.evaluate.world import CONNECTIONS

RETRIEVED = {**KEPT, "labels": {"table": "labels.csv"}}
LISTED = [("R@5", "mean"), ("R@5", "text->audio"), ("mAP", "mean"), ("class_R@1", "mean"), ("class_mAP", "audio->text")]
LISTED += [
    ("top-1", "audio->text"),
    ("top-1", "mean"),
    ("top-9", "audio->text"),
    ("mAP", "audio->text"),
    ("gap", "mean"),
]


def ablation(metric: str, direction: str) -> Ablation:
    return Ablation.model_validate({"task": "own", "metric": metric, "direction": direction, "rows": {"r": {}}})


@pytest.mark.parametrize("task", [KEPT, RETRIEVED, CLASSES], ids=["retrieval", "by class", "classification"])
def test_exactly_what_is_measured_can_be_asked_for(world, task) -> None:
    settings = EvaluateSettings.model_validate({"bootstrap": 0, "tasks": {"own": task}})
    evaluate(settings, world, CONNECTIONS, 3)
    metrics = pd.read_parquet(Path(world.metrics, "metrics.parquet"))
    measured = {at for at in zip(metrics.metric, metrics.direction, strict=True) if is_share(metric_label(at[0]))}
    for metric, direction in measured:
        check_measurable(ablation(metric, direction), settings)
    for metric, direction in set(LISTED) - measured:
        with pytest.raises(UserError, match="The task own has no"):
            check_measurable(ablation(metric, direction), settings)
