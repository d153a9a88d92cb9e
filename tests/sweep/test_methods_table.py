"""presets/sweeps/methods.yaml fits the demo, and its paired differences are those of the ranks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.all.methods import paired
from benchmarks.demo_seeds import extended
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
