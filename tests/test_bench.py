"""`make bench`: the table says of each row which way is better, and replaces only itself."""

import json
from pathlib import Path

from benchmarks.all.growth import SIZES, slope
from benchmarks.all.rows import (
    MAIN,
    Row,
    main_rows,
    markdown,
    of_aggregate,
    of_input,
    of_memory,
    of_nothing,
    of_store,
    of_train,
)
from benchmarks.all.run import TABLE, with_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_a_ratio_above_one_is_better_whichever_way_the_figure_goes() -> None:
    assert Row("rate", 4.0, 2.0, "peer").ratio == Row("time", 2.0, 4.0, "peer", better="lower").ratio == 2
    assert markdown([Row("rate", 4.0, 2.0, "peer")]).splitlines()[-1] == "| rate | 4 | 2 | peer |  | 2.00 |"


def test_a_scan_is_compared_with_both_peers() -> None:
    names = {"ours: binary": 2.0, "np.load": 2.5, "List": 0.1, "binary": 3.0}
    halves = {"ours: float16": 1.0, "FixedSizeList of float16": 0.5}
    rows = of_store({"formats": [{"name": name, "scan_median": rate} for name, rate in (names | halves).items()]})
    assert [round(row.ratio, 3) for row in rows] == [0.8, 20.0, 2.0] and [row.limit for row in rows] == [2.5, 2.5, 0]


def test_bf16_is_compared_with_fp32_where_it_was_measured() -> None:
    def step(precision: str, ours: float) -> dict[str, object]:
        size = {"batch": 4096, "width": 512, "gflop": 2.0, "gemm_gflops": 200.0}
        return {"precision": precision, "ours_ms": ours, "peer_ms": 30.0, **size}

    full, short, beside = of_train({"rows": [step("fp32", 20.0), step("bf16", 10.0)]})
    assert (full.ratio, short.ratio, beside.ratio) == (1.5, 3.0, 2.0) and full.limit == 10
    assert [row.ratio for row in of_train({"rows": [step("fp32", 20.0)]})] == [1.5]
    rates = {"ours": 200.0, "torch SDPA": 250.0, "matrix product alone": 220.0}
    for more, expected in (({}, [0.8]), ({"ours in bf16": 400.0}, [0.8, 2.0])):
        rows = [{"name": name, "gflops_median": rate} for name, rate in (rates | more).items()]
        shape = {"queries": 2048, "memory": 100_000, "dimension": 512, "rows": rows}
        assert [row.ratio for row in of_aggregate({"shapes": [shape]})] == expected


def test_pictures_are_limited_by_the_cores_that_decode_and_not_by_the_workers() -> None:
    ways = {"limit": {"rate": 500.0}, "limit by torch": {"rate": 1000.0}, "limit by torchvision": {"rate": 2000.0}}
    for workers in (1, 2, 4):
        ways[f"ours, {workers}"] = {"rate": 400.0 * workers, "collector": 50.0}
        ways[f"ours by torch, {workers}"] = {"rate": 800.0 * workers, "collector": 50.0}
        ways[f"ours on device, {workers}"] = {"rate": 800.0 * workers, "collector": 100.0}
        ways[f"peer, {workers}"] = {"rate": 200.0 * workers, "collector": 100.0}
    rows = of_input({"ways": ways, "cores": 2, "settings": {"workers": [1, 2, 4]}})
    assert [row.limit for row in rows[::4]] == [500, 1000, 1000] and {row.ratio for row in rows} == {2.0}
    assert [row.limit for row in rows[1::4]] == [1000, 2000, 2000]
    assert [row.limit for row in rows[2::4]] == [2000, 4000, 4000]


def test_less_memory_and_less_time_are_better() -> None:
    [memory] = of_memory({"shard": {"2": 100.0, "20": 110.0}})
    assert (memory.ours, memory.peer) == (110.0, 100.0) and memory.ratio < 1
    found = {
        "dvc status": 2.0,
        "dvc repro": 2.5,
        "mcr plan": 1.0,
        "dvc repro of true": 2.25,
        "dvc repro of nothing": 2.2,
    }
    repro, idle, plan = of_nothing({"shards": 1000, **found})
    assert round(repro.ratio, 2) == 0.8 and plan.ratio == 2 and (repro.limit, plan.limit) == (2.2, 0)
    assert idle.ratio == 0.9 and idle.against != repro.against


def test_linear_growth_has_the_slope_one() -> None:
    assert abs(slope([0.3 * size for size in SIZES]) - 1) < 1e-9
    assert abs(slope([0.3 * size**2 for size in SIZES]) - 2) < 1e-9


def test_the_readme_shows_main_rows_as_they_were_measured() -> None:
    measured = json.loads((ROOT / "benchmarks/results/bench.json").read_text())["rows"]
    rows = [Row(**{name: value for name, value in row.items() if name != "ratio"}) for row in measured]
    assert len(main_rows(rows)) == len(MAIN) and f"\n\n{markdown(main_rows(rows))}\n<!-- end -->" in README.read_text()
    assert f"\n\n{markdown(rows)}\n<!-- end -->" in (ROOT / "docs/performance.md").read_text()


def test_a_new_table_replaces_the_old_one_and_nothing_else() -> None:
    page = f"before\n{TABLE[0]}old{TABLE[1]}\nafter\n"
    assert with_table(page, "new") == page.replace("old", "new") == with_table(with_table(page, "x"), "new")
