"""`make bench`: the table says of each row which way is better, and replaces only itself."""

from benchmarks.all.growth import SIZES, slope
from benchmarks.all.rows import Row, markdown, of_store
from benchmarks.all.run import TABLE, with_table


def test_a_ratio_above_one_is_better_whichever_way_the_figure_goes() -> None:
    assert Row("rate", 4.0, 2.0, "peer").ratio == Row("time", 2.0, 4.0, "peer", better="lower").ratio == 2
    assert markdown([Row("rate", 4.0, 2.0, "peer")]).splitlines()[-1] == "| rate | 4 | 2 | peer |  | 2.00 |"


def test_a_scan_is_compared_with_both_peers() -> None:
    names = {"ours: binary": 2.0, "np.load": 2.5, "List": 0.1, "binary": 3.0}
    rows = of_store({"formats": [{"name": name, "scan_median": rate} for name, rate in names.items()]})
    assert [round(row.ratio, 3) for row in rows] == [0.8, 20.0] and {row.limit for row in rows} == {2.5}


def test_linear_growth_has_the_slope_one() -> None:
    assert abs(slope([0.3 * size for size in SIZES]) - 1) < 1e-9
    assert abs(slope([0.3 * size**2 for size in SIZES]) - 2) < 1e-9


def test_a_new_table_replaces_the_old_one_and_nothing_else() -> None:
    page = f"before\n{TABLE[0]}old{TABLE[1]}\nafter\n"
    assert with_table(page, "new") == page.replace("old", "new") == with_table(with_table(page, "x"), "new")
