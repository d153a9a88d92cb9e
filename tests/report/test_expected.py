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
    plain = write_report(data, world.CONNECTIONS, world.TASKS, ReportSettings(), tmp_path / "other")
    assert "Published numbers" not in plain.page.read_text()
