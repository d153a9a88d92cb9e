"""Published numbers stand beside ours on the page, in the units of the publication; what is not known is said."""

from pipeline.report.settings import ReportSettings
from pipeline.report.write import write_report
from tests.report import world
from tests.report.test_page import Page

SOURCE = "a made-up table"


def number(of: str, metric: str, direction: str = "mean", value: float | None = None) -> dict[str, object]:
    return {"of": of, "metric": metric, "direction": direction, "value": value, "source": SOURCE}


def test_the_page_has_ours_beside_what_was_published(tmp_path):
    data = world.build(tmp_path / "data")
    published = {
        "audio_image": [
            number(world.MAIN, "R@10", value=67.3),
            number(world.MAIN, "R@10", "audio->image", 67.04),
            number("bridge", "median_rank", value=5),
            number(world.MAIN, "R@1"),
            number("nobody", "R@1", value=1.0),
        ]
    }
    written = write_report(
        data, world.CONNECTIONS, world.TASKS, ReportSettings(), tmp_path / "report", published=published
    )
    text = " ".join(Page(written.page.read_text()).text.split())
    # 0.66 with an interval of 3 % to both sides, see `world.write_metrics`; one direction is shifted by 0.002.
    assert f"{world.MAIN}, R@10, mean of both directions: expected 67.3, measured 66.0 [64.0, 68.0] ({SOURCE})" in text
    assert f"{world.MAIN}, R@10, audio->image: expected 67.0, measured 66.2 [64.2, 68.2]" in text
    rank = 400 * (1 - 0.655) ** 4 + 1
    assert f"bridge, median rank, mean of both directions: expected 5.0, measured {rank:.1f} [" in text
    assert "expected unknown, measured 16.5" in text
    assert "nobody, R@1, mean of both directions: expected 1.0, not measured here" in text
    tables = [table for table in Page(written.page.read_text()).tables if table[0][0] == "method"]
    assert [[name for name in table[0] if name.endswith(", published")] for table in tables] == [
        ["R@1, published", "R@10, published", "median rank, published"],
        ["R@10, published"],
        [],
    ]
    for table in tables:
        # Titles of groups span the row.
        assert {len(row) for row in table} == {1, len(table[0])}
    column = tables[0][0].index("R@10, published")
    filled = {row[0].split("\n")[0]: row[column] for row in tables[0][1:] if len(row) > 1 and row[column] != "–"}
    assert list(filled.values()) == ["67.3"], "beside the one method that it was published for"
    card = written.card.read_text()
    assert "| `R@10`, published |" in card and " 67.3 |" in card and "expected 67.0, measured 66.2" in card
    lines = [line for line in card.splitlines() if line.startswith("|") and "`R@10`, published" in line]
    assert lines and all(line.count("|") == lines[0].count("|") for line in lines)
    plain = write_report(data, world.CONNECTIONS, world.TASKS, ReportSettings(), tmp_path / "other")
    assert "Published numbers" not in plain.page.read_text()
