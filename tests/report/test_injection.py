"""Whatever a name, key, caption or message says: page and card show it, and it does nothing there."""

import base64
import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from pipeline.inert import content_policy, inert
from pipeline.report import write
from pipeline.report.figures.plots import Axes, line_chart
from pipeline.report.inputs import Inputs
from pipeline.report.markdown import code, plain
from pipeline.report.settings import ReportSettings
from pipeline.sweep.page import sweep_page
from tests.makers.injections import ALL
from tests.report import world

# Fields that our own code chooses from fixed words.
OURS = {"modality", "picture", "sound", "group", "stage"}


class Shape(HTMLParser):
    """The elements and attributes of a page without its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, ...]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, *(name for name, _ in attrs)))
        self.words += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.shape.append(("comment",))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    data = world.build(tmp_path_factory.mktemp("run"))
    return Inputs(data, dict(world.CONNECTIONS), dict(world.TASKS))


@cache
def known(inputs_of: Path) -> tuple[dict[str, object], dict[str, object]]:
    inputs = Inputs(inputs_of, dict(world.CONNECTIONS), dict(world.TASKS))
    settings = ReportSettings(examples=1, pseudo_pairs=1)
    return write._facts(inputs, ["3 samples are shared"], {}), write._shown(inputs, settings)


def poisoned(value: object, text: str) -> object:
    """`value` with `text` at the end of every word in it that comes from outside."""
    if isinstance(value, Markup) or value is None or value == "":
        return value
    if isinstance(value, str):
        return value + text
    if isinstance(value, Mapping):
        return {poisoned(name, text): poisoned(each, text) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(poisoned(each, text) for each in value)
    if dataclasses.is_dataclass(value) and hasattr(value, "config"):  # files on disk, of which only the name is shown
        return dataclasses.replace(value, name=value.name + text)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init and field.name not in OURS]
        return dataclasses.replace(value, **{name: poisoned(getattr(value, name), text) for name in names})
    return value


GIVEN = write.GivenAway(
    source="me/x", licence="mit", spaces={"clip": "of them"}, licences={"clip": "theirs"}, repositories=["them/clip"]
)


def rendered(inputs: Inputs, text: str, given: write.GivenAway | None = None) -> tuple[str, str]:
    facts, shown = known(inputs.data)
    values = {
        name: value if name == "modalities" else poisoned(value, text) for name, value in {**facts, **shown}.items()
    }
    values |= {"settings": ReportSettings(title="A title" + text), "given": poisoned(given, text)}
    page = write._environment(html=True).get_template(write.PAGE).render(**values, **write._look())
    return write.inert_lines(page), write._environment(html=False).get_template(write.CARD).render(**values)


def test_the_page_keeps_its_shape_and_shows_the_words(inputs):
    plain_shape = Shape(rendered(inputs, "x")[0]).shape
    for text in ALL:
        page = rendered(inputs, text)[0]
        shape = Shape(page)
        assert shape.shape == plain_shape, f"{text!r} became markup"
        shown = inert(text.replace("\n", " "))
        assert sum(shown in inert(words.replace("\n", " ")) for words in shape.words) > 50, f"{text!r} is not shown"
        page.encode()  # no half of a surrogate pair
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SPOKEN = {"text", "code_inline", "softbreak", "strong_open", "strong_close"}


def blocks(card: str) -> list[str]:
    return [token.type for token in READER.parse(card)]


def inline(card: str) -> list[Token]:
    shown = card.split("\n---\n", 1)[1]  # what stands before it is YAML, in which JSON keeps every string a string
    return [child for token in READER.parse(shown) for child in token.children or ()]


@pytest.mark.parametrize("given", [None, GIVEN])
def test_the_card_keeps_its_shape_and_holds_no_markup(inputs, given):
    harmless = rendered(inputs, "x", given)[1]
    strong = Counter(token.type for token in inline(harmless))["strong_open"]
    for text in ALL:
        card = rendered(inputs, text, given)[1]
        assert blocks(card) == blocks(harmless), f"{text!r} became a block"
        found = inline(card)
        assert {token.type for token in found} <= SPOKEN, f"{text!r} became markup"
        assert Counter(token.type for token in found)["strong_open"] == strong
        # GitHub makes links of bare addresses, but never within code.
        assert not [
            token.content for token in found if token.type == "text" and re.search(r"://|www\.|@", token.content)
        ]


@pytest.mark.parametrize("text", ALL)
def test_markdown_reads_as_the_text_that_it_was_made_from(text):
    shown = inert(" ".join(text.split()))
    for start in ("", "z ", "| b |\n|---|\n| "):
        [*_, last] = [token for token in READER.parse(f"{start}{plain(text)}") if token.type == "inline"] or [None]
        words = "".join(child.content for child in last.children) if last else ""
        assert words.removeprefix("z ") == shown
    if shown:
        [token] = READER.parseInline(code(text).replace("\\|", "|"))
        assert [child.type for child in token.children] == ["code_inline"]
        assert token.children[0].content.strip() == shown.strip()


def test_nothing_on_the_page_may_act(inputs):
    page = rendered(inputs, "x")[0]
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    [style] = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # Such a policy forbids attributes of style and handlers: there are none.
    names = {name for element in Shape(page).shape for name in element[1:]}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_names_in_plots_are_text():
    for text in ALL:
        drawn = line_chart({f"loss {text}": [(0, 1), (1, 2)]}, Axes("step" + text, "loss" + text), "Loss" + text)
        plot = Shape(drawn)
        expected = Shape(line_chart({"loss": [(0, 1), (1, 2)]}, Axes("step", "loss"), "Loss"))
        assert plot.shape == expected.shape


def test_the_page_of_a_sweep_keeps_its_shape():
    def page(text: str) -> str:
        row = {
            "connection": "c" + text,
            "task": "t" + text,
            "metric": "R@1" + text,
            "row": "r" + text,
            "verdict": "v" + text,
        }
        values = pd.DataFrame([{**row, "seed": 0, "value": 0.5}])
        numbers = {"mean": 0.5, "deviation": 0.1, "difference": 0.1, "difference_deviation": 0.1}
        return sweep_page("title" + text, values, pd.DataFrame([{**row, **numbers}]))

    for text in ALL:
        if any(0xD800 <= ord(character) < 0xE000 for character in text):
            continue  # no table of pandas with Arrow's strings can hold them
        assert Shape(page(text)).shape == Shape(page("x")).shape, text
    [style] = re.findall("<style>(.*?)</style>", page("x"), re.DOTALL)
    assert content_policy(style) in page("x")
