"""`make bench`: the table says of each row which way is better, and replaces only itself."""

from benchmarks.all.growth import SIZES, slope
from benchmarks.all.rows import Row, markdown, of_input, of_memory, of_nothing, of_store
from benchmarks.all.run import TABLE, with_table


def test_a_ratio_above_one_is_better_whichever_way_the_figure_goes() -> None:
    assert Row("rate", 4.0, 2.0, "peer").ratio == Row("time", 2.0, 4.0, "peer", better="lower").ratio == 2
    assert markdown([Row("rate", 4.0, 2.0, "peer")]).splitlines()[-1] == "| rate | 4 | 2 | peer |  | 2.00 |"


def test_a_scan_is_compared_with_both_peers() -> None:
    names = {"ours: binary": 2.0, "np.load": 2.5, "List": 0.1, "binary": 3.0}
    rows = of_store({"formats": [{"name": name, "scan_median": rate} for name, rate in names.items()]})
    assert [round(row.ratio, 3) for row in rows] == [0.8, 20.0] and {row.limit for row in rows} == {2.5}


def test_pictures_are_limited_by_the_cores_that_decode_and_not_by_the_workers() -> None:
    ways = {"limit": {"rate": 500.0}}
    for workers in (1, 2, 4):
        ways[f"ours, {workers}"] = {"rate": 400.0 * workers, "collector": 50.0}
        ways[f"peer, {workers}"] = {"rate": 200.0 * workers, "collector": 100.0}
    rows = of_input({"ways": ways, "cores": 2, "settings": {"workers": [1, 2, 4]}})
    assert [row.limit for row in rows[::2]] == [500, 1000, 1000] and {row.ratio for row in rows} == {2.0}


def test_less_memory_and_less_time_are_better() -> None:
    [memory] = of_memory({"shard": {"2": 100.0, "20": 110.0}})
    assert (memory.ours, memory.peer) == (110.0, 100.0) and memory.ratio < 1
    repro, plan = of_nothing({"shards": 1000, "dvc status": 2.0, "dvc repro": 2.5, "mcr plan": 1.0})
    assert round(repro.ratio, 2) == 0.8 and plan.ratio == 2


def test_linear_growth_has_the_slope_one() -> None:
    assert abs(slope([0.3 * size for size in SIZES]) - 1) < 1e-9
    assert abs(slope([0.3 * size**2 for size in SIZES]) - 2) < 1e-9


def test_a_new_table_replaces_the_old_one_and_nothing_else() -> None:
    page = f"before\n{TABLE[0]}old{TABLE[1]}\nafter\n"
    assert with_table(page, "new") == page.replace("old", "new") == with_table(with_table(page, "x"), "new")
