"""Every kind of task has its table on the page: shares in per cent, distances and logarithms as they are."""

import pyarrow.parquet as pq
import pytest

from pipeline.report.settings import ReportSettings
from pipeline.report.table import is_share, metric_label
from pipeline.report.write import write_report
from tests.report import world

KINDS = {
    "zero_shot": ("point->text", {"top-1": 0.4321, "top-5": 0.8768}),
    "tags": ("audio->text", {"mAP": 0.2468}),
    "shape": ("audio-image", {"gap": 0.7531, "uniformity_audio": -2.4681, "hubness_image": 3.1415}),
    "where": ("audio->image", {"cIoU": 0.3579, "AUC": 0.4683, "AP": 0.5792, "max-F1": 0.6813}),
    "classes": ("mean", {"class_R@1": 0.1357, "class_mAP": 0.2469, "class_median_rank": 3.5}),
}


@pytest.mark.parametrize("first", [False, True])
def test_tables_of_every_kind(tmp_path, first):
    data = world.build(tmp_path / "data")
    path = data / "metrics" / "metrics.parquet"
    rows = [
        {"connection": world.MAIN, "method": "cmcr", "task": task, "dataset": "heldout", "direction": direction}
        | {"metric": metric, "value": value, "ci_low": None, "ci_high": None, "n": 40, "chance": None}
        for task, (direction, metrics) in KINDS.items()
        for metric, value in metrics.items()
    ]
    known = pq.read_table(path).to_pylist()
    world.write_table(path, [*rows, *known] if first else [*known, *rows])
    tasks = world.TASKS | {name: {"audio": "heldout", "image": "heldout"} for name in KINDS}
    written = write_report(data, world.CONNECTIONS, tasks, ReportSettings(), tmp_path / "report")
    for text in (written.page.read_text(), written.card.read_text()):
        for expected in ("43.2", "87.7", "24.7", "0.753", "-2.468", "3.142", "35.8", "57.9", "13.6", "3.5"):
            assert expected in text, expected
    page = written.page.read_text()
    assert "shape, heldout, audio-image." in page and "classes, heldout, mean of both directions." in page
    assert "Recall over the number of candidates" in page


def test_what_is_shown_in_per_cent():
    assert [metric for _, metrics in KINDS.values() for metric in metrics if not is_share(metric_label(metric))] == [
        "gap",
        "uniformity_audio",
        "hubness_image",
        "class_median_rank",
    ]
