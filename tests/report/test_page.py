"""The page and the card as a whole: self-contained, deterministic, true to the files, safe, and never without words."""

import base64
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import CorruptError
from pipeline.report.settings import ReportSettings
from pipeline.report.write import EXPLORER, write_report
from tests.report import world

SETTINGS = ReportSettings(title="A & B", examples=3, pseudo_pairs=3)
VOID = {"meta", "link", "img", "br"}


def spaced(html: str) -> str:
    """What a page says, each element apart from the next by one space."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.partition("</head>")[2])).split())


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, and tables as rows of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if "table" in self.open and {"td", "th"} & set(self.open[-3:]):
            self.tables[-1][-1][-1] += ("\n" if self.open[-1] == "small" else "") + data

    def attributes(self, name: str, tag: str | None = None) -> list[str]:
        """Values of attribute `name`."""
        return [attrs[name] for found, attrs in self.tags if name in attrs and tag in (None, found)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.build(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(data: Path) -> str:
    written = write_report(data, world.CONNECTIONS, world.TASKS, SETTINGS, data / "reports")
    assert written.missing == ()
    return written.page.read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_requested_from_outside(page: Page, html: str) -> None:
    for name in ("src", "srcset", "poster", "data", "action", "xlink:href"):
        assert all(value.startswith("data:") for value in page.attributes(name))
    assert all(value.startswith(("#", "data:", EXPLORER)) for value in page.attributes("href"))
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", html.replace(f'<a href="{EXPLORER}#', ""))
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_anchors_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [value for value in page.attributes("href", "a") if not value.startswith(EXPLORER)]
    assert {value[1:] for value in links} <= set(ids)


def test_each_example_leads_to_the_explorer(page: Page) -> None:
    found = [value.partition("#")[2] for value in page.attributes("href", "a") if value.startswith(EXPLORER)]
    assert len(found) == 6 and len(set(found)) == 6
    assert found[0] == "like=audio/heldout/00000.tar/heldout-000&into=image&by=audio_image"


def test_tags_are_balanced(page: Page) -> None:
    assert page.unbalanced == []
    assert page.open == []


def test_equal_inputs_give_equal_bytes(data: Path, html: str, tmp_path: Path) -> None:
    # A copy elsewhere: neither the place nor the order in which a directory lists its files may show.
    shutil.copytree(data, tmp_path / "copy", ignore=shutil.ignore_patterns("reports"))
    written = write_report(tmp_path / "copy", world.CONNECTIONS, world.TASKS, SETTINGS, tmp_path / "out")
    assert written.page.read_text() == html
    assert written.card.read_text() == (data / "reports" / "model_card.md").read_text()
    assert str(data) not in html


@pytest.mark.parametrize(
    ("leaks", "said"),
    [
        (None, "their content was not compared"),
        ([], "No sample of the unpaired data has the bytes, the decoded content or the key"),
        (
            ["3 samples of photos are in heldout"],
            "3 samples of photos are in heldout: numbers on that set are too good",
        ),
    ],
)
def test_leaks_are_alarms_and_limits(data: Path, tmp_path: Path, leaks: list[str] | None, said: str) -> None:
    written = write_report(data, world.CONNECTIONS, world.TASKS, SETTINGS, tmp_path, leaks)
    for text in (written.page.read_text(), written.card.read_text()):
        assert said in text
        assert text.count("3 samples of photos") == (2 if leaks else 0), "as an alarm at the top, and below the limits"


def test_every_number_of_the_tables_is_one_of_the_metrics(data: Path, page: Page) -> None:
    metrics = pq.read_table(data / "metrics" / "metrics.parquet").to_pylist()
    tables = [table for table in page.tables if table[0][0] == "method"]
    for direction, table in zip(("mean", "audio->image", "image->audio"), tables, strict=True):
        head, *rows = table
        expected = sorted(_texts(metrics, direction, head[1:], method) for method in world.METHODS)
        shown = sorted(tuple(row[1:]) for row in rows if len(row) > 1 and row[0] != "Chance")
        assert shown == expected
        chance = next(row[1:] for row in rows if row[0] == "Chance")
        assert chance == [_text(world.CHANCE[name.replace(" ", "_")], name) for name in head[1:]]


def _texts(metrics: list[dict], direction: str, names: list[str], method: tuple[str, str]) -> tuple[str, ...]:
    found = {
        r["metric"].replace("_", " "): r
        for r in metrics
        if (r["connection"], r["method"]) == method and r["direction"] == direction
    }
    return tuple(
        _text(r["value"], name) + "\n" + _text(r["ci_low"], name) + " – " + _text(r["ci_high"], name)
        for name in names
        for r in [found[name]]
    )


def _text(value: float, name: str) -> str:
    return format(value, ".1f").removesuffix(".0") if "rank" in name else format(100 * value, ".1f")


def test_card_has_the_same_numbers(data: Path, html: str) -> None:
    card = (data / "reports" / "model_card.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| C-MCR (audio_image)"))
    assert "66.0 (64.0 – 68.0)" in row
    assert "c" * 3 not in row
    assert "p" * 64 in card  # the checkpoint's hash
    assert 'ConnectedSpace.load("data/models/audio_image")' in card


def test_pictures_and_sounds_are_the_original_bytes(page: Page) -> None:
    pictures = {_decoded(uri) for uri in page.attributes("src", "img")}
    sounds = {_decoded(uri) for uri in page.attributes("src", "audio")}
    assert sounds <= {world.sound(number) for number in range(world.GALLERY)}
    shown = {world.picture(number) for number in range(world.GALLERY)} & pictures
    spectrograms = pictures - shown
    assert len(sounds) >= 5
    assert len(shown) >= 5
    assert len(spectrograms) == len(sounds)
    assert all(content.startswith(b"\x89PNG") for content in spectrograms)


def _decoded(uri: str) -> bytes:
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:audio/flac")
    return base64.b64decode(content, validate=True)


def test_every_picture_has_a_text_and_every_table_a_caption(page: Page) -> None:
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(attrs.get("alt") for attrs in images)
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "audio")
    assert all("aria-label" in attrs or "aria-hidden" in attrs for tag, attrs in page.tags if tag == "svg")
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table")
    assert tags.count("figcaption") == tags.count("figure")


def test_hostile_captions_are_text(page: Page, html: str) -> None:
    assert world.HOSTILE in page.text
    assert "<script" not in html
    assert any(world.HOSTILE in alt for alt in page.attributes("alt", "img"))


def test_hostile_title_is_text(data: Path, tmp_path: Path) -> None:
    written = write_report(data, world.CONNECTIONS, world.TASKS, ReportSettings(title=world.HOSTILE), tmp_path)
    assert "<script" not in written.page.read_text()


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("metrics/metrics.parquet", "evaluate"),
        ("metrics/examples.parquet", "evaluate"),
        ("metrics/similarities.parquet", "evaluate"),
        ("metrics/ranks.parquet", ""),
        ("models/audio_image/clip-clap/history.parquet", ""),
        ("models/audio_image/config.json", ""),
        ("pairs/audio_image/clip-clap/overlap/_examples.parquet", "retrieve"),
        ("pairs/audio_image/clip-clap/overlap/_manifest.json", ""),
        ("shards", ""),
        ("models", "train"),
        ("metrics", "evaluate"),
    ],
)
def test_missing_inputs_are_said(data: Path, tmp_path: Path, gone: str, said: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    written = write_report(copy, world.CONNECTIONS, world.TASKS, SETTINGS, tmp_path / "out")
    page = Page(written.page.read_text())
    assert gone == "shards" or any(name.startswith(gone) for name in written.missing)
    assert all(name in page.text for name in written.missing)
    assert said in page.text
    assert page.unbalanced == []
    assert "None" not in written.card.read_text()


def test_nothing_at_all_is_a_page_too(tmp_path: Path) -> None:
    written = write_report(
        tmp_path / "empty", {"audio_image": world.CONNECTIONS["audio_image"]}, {}, SETTINGS, tmp_path / "out"
    )
    text = Page(written.page.read_text()).text
    assert text.count("does not exist") >= 5
    assert "audio_image" in text


def test_damaged_input_is_an_error_and_leaves_the_old_page(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "copy")
    (tmp_path / "copy" / "metrics" / "metrics.parquet").write_bytes(b"not parquet")
    before = (tmp_path / "copy" / "reports" / "index.html").read_bytes()
    with pytest.raises(CorruptError, match=r"metrics\.parquet"):
        write_report(tmp_path / "copy", world.CONNECTIONS, world.TASKS, SETTINGS, tmp_path / "copy" / "reports")
    assert (tmp_path / "copy" / "reports" / "index.html").read_bytes() == before


def test_budget_bounds_the_page(data: Path, tmp_path: Path, html: str) -> None:
    small = write_report(data, world.CONNECTIONS, world.TASKS, ReportSettings(media_kilobytes=60), tmp_path / "small")
    none = write_report(data, world.CONNECTIONS, world.TASKS, ReportSettings(media_kilobytes=0), tmp_path / "none")
    uris = Page(small.page.read_text()).attributes("src")
    assert 0 < sum(map(len, uris)) <= 60_000
    assert Page(none.page.read_text()).attributes("src") == []
    assert "page budget" in none.page.read_text()
