"""presets/sweeps/methods.yaml fits the demo, and its paired differences are those of the ranks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.all.methods import paired
from benchmarks.demo_seeds import extended
from benchmarks.methods_table import PAGE, RESULTS, markdown, with_table
from pipeline.methods import BUILT_IN
from pipeline.params.load import check_params

ROOT = Path(__file__).parents[2]


def test_the_table_of_all_methods_fits_the_demo():
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    addition = yaml.safe_load((ROOT / "presets/sweeps/methods.yaml").read_text())
    params = check_params(extended(raw, addition), "the table")
    used = {connection.method for connection in params.connections.values()}
    # Published projectors are files that the demo does not have.
    assert used == {method.name for method in BUILT_IN if method.sets}
    measured = {name for task in params.evaluate.tasks.values() for name in task.connections}
    assert measured == set(params.connections)
    assert "&" not in yaml.safe_dump(raw["connections"])


def test_differences_over_seeds_are_paired_by_item():
    draw = np.random.default_rng(0)
    rows = []
    for seed in (1, 2):
        one = draw.random(400) < 0.5
        other = one & (draw.random(400) < 0.9)
        for name, hits in (("one", one), ("other", other)):
            for way in ("a->b", "b->a"):
                ranks = np.where(hits, 1, 50)
                found = {"task": "t", "connection": name, "method": "m", "direction": way, "rank": ranks, "seed": seed}
                rows.append(pd.DataFrame({**found, "item": np.arange(400)}))
    table = paired(pd.concat(rows, ignore_index=True), "t", "one m").set_index(["connection", "method", "metric"])
    lost = pd.concat(rows)
    share = lost.groupby("connection")["rank"].apply(lambda rank: 100 * (rank <= 1).mean())
    row = table.loc["other", "m", "R@1"]
    assert row["difference"] == pytest.approx(share["other"] - share["one"])
    deviation = 100 * np.sqrt(0.05 * 0.95 / 800)
    assert row["from"] == pytest.approx(row["difference"] - 1.96 * deviation, abs=0.5)
    assert tuple(table.loc["one", "m", "R@10"][["difference", "from", "to"]]) == (0, 0, 0)


def swept() -> dict[str, object]:
    """What the sweep would write of two connections, a baseline and the frozen spaces, over two seeds."""
    rows = []

    def add(task: str, connection: str, method: str, metric: str, *values: float) -> None:
        for seed, value in enumerate(values):
            rows.append(
                {
                    "seed": seed,
                    "task": task,
                    "connection": connection,
                    "method": method,
                    "metric": metric,
                    "value": value,
                }
            )

    for connection, method, values in (
        ("joint", "joint_coupling", (0.8, 0.9)),
        ("joint", "bridge", (0.7, 0.72)),
        ("tied", "bridge", (0.6, 0.61)),
        ("joint", "procrustes", (0.4, 0.5)),
    ):
        add("audio_image", connection, method, "R@1", *(value / 2 for value in values))
        add("audio_image", connection, method, "R@10", *values)
    add("audio_image", "joint", "joint_coupling_hubs", "R@10", 0.99, 0.99)
    for task, space in (("image_text", "clip"), ("audio_text", "clap")):
        add(task, space, "frozen", "R@1", 0.8, 0.6)
        add(task, "joint", "joint_coupling", "R@1", 0.7, 0.63)
    add("audio_text", "joint", "joint_coupling_towers", "R@1", 0.75, 0.75)
    add("point_image", "joint", "joint_coupling", "R@1", 0.5, 0.54)
    paired = [
        {
            "connection": c,
            "method": m,
            "metric": "R@10",
            "against": against,
            "difference": d,
            "from": d - 1,
            "to": d + 1,
        }
        for against in ("joint", "joint bridge")
        for c, m, d in (("joint", "joint_coupling", 14.0), ("joint", "procrustes", -26.0), ("tied", "bridge", -10.5))
    ]
    paired.append(
        {
            "connection": "joint",
            "method": "bridge",
            "metric": "R@10",
            "against": "joint bridge",
            "difference": 0.0,
            "from": 0.0,
            "to": 0.0,
        }
    )
    costs = {
        str(seed): {"joint": {"retrieve": 10.0, "train": 20.0 + seed}, "tied": {"retrieve": 1.0, "train": 0.0}}
        for seed in (0, 1)
    }
    mixed = {str(seed): {"joint": {"found": 0.6 + 0.1 * seed, "images": 0.4}} for seed in (0, 1)}
    return {"rows": rows, "paired": paired, "cpu_seconds": costs, "mixed": mixed, "seeds": [0, 1], "load": 3.2}


def test_the_table_says_what_was_measured():
    lines = markdown(swept()).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    free = "R@10 less the training-free bridge"
    assert list(table) == [
        "Orthogonal Procrustes",
        "Bridge (`tied`)",
        "Training-free bridge",
        "Joint coupling (`joint`)",
    ]
    joint = table["Joint coupling (`joint`)"]
    assert joint["R@10"] == "85.0 ± 7.1" and joint["R@1"] == "42.5 ± 3.5"
    assert joint[free] == "+14.0 (13.0 to 15.0)" and table["Training-free bridge"][free] == "-"
    assert table["Bridge (`tied`)"]["CPU s"] == "1"
    assert (
        joint["image-text R@1, share kept"] == "66.5, 95 %" and joint["audio-text, text by all towers"] == "75.0 ± 0.0"
    )
    assert joint["mixed gallery"] == "65" and joint["CPU s"] == "30" and joint["3D-image R@1"] == "52.0 ± 2.8"
    # A baseline bears the name of the connection whose data it used, and has none of its numbers.
    for name in ("Orthogonal Procrustes", "Training-free bridge"):
        assert set(list(table[name].values())[4:]) == {"-"}
    assert "image-text 70.0" in lines[-1] and "seeds 0, 1" in lines[-1]


def test_the_page_shows_the_file_as_it_is():
    page = PAGE.read_text()
    assert page == with_table(page, markdown(json.loads(RESULTS.read_text())))
