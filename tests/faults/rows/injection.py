"""Texts that try to act in a terminal, on the page and in the model card."""

import random
import re
from collections.abc import Iterator
from functools import partial

from markdown_it import MarkdownIt

from tests.faults.lab import Lab
from tests.faults.row import Row, Trial
from tests.makers.injections import ALL

_ACTIVE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def trials(lab: Lab, draw: random.Random, quick: bool) -> Iterator[Trial]:
    """Every text in every place."""
    for number in range(len(ALL)):
        for place in (terminal, page, card):
            yield Trial(f"{place.__name__}: {ALL[number]!r}", partial(attempt, place=place, text=ALL[number]))


def attempt(lab: Lab, place: object, text: str) -> list[str]:
    """Show `text` in a place."""
    if lab.broken:
        lab.broken()
    return place(text)  # type: ignore[operator,no-any-return]


def terminal(text: str) -> list[str]:
    """An error, with a hint, that name it."""
    import contextlib
    import io

    from pipeline.errors import UserError
    from stages.printing import show_error

    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        show_error(UserError(f"The corpus {text} is not there.", f"Look for {text}."))
    shown = stream.getvalue()
    ours = sum(line.startswith(("error:", "hint:")) for line in shown.split("\n"))
    return ["active: terminal"] if _ACTIVE.search(shown) or ours != 2 else []


def page(text: str) -> list[str]:
    """A sentence on the page."""
    from pipeline.inert import inert_lines
    from pipeline.report import write
    from tests.report.test_injection import Shape

    template = write._environment(html=True).from_string('<p title="{{ text }}">{{ text }}</p>')
    shape = Shape(inert_lines(template.render(text=text)))
    return (
        []
        if shape.shape == [("p", "title"), ("/p",)] and not _ACTIVE.search("".join(shape.words))
        else ["active: page"]
    )


def card(text: str) -> list[str]:
    """A cell of a table in the card."""
    from pipeline.report import write

    template = write._environment(html=False).from_string("| a | b |\n|---|---|\n| {{ text }} | c |\n\n- {{ text }}\n")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(template.render(text=text))
    inline = {child.type for token in tokens for child in token.children or ()}
    cells = sum(token.type == "td_open" for token in tokens)
    items = sum(token.type in ("list_item_open", "heading_open", "fence", "html_block") for token in tokens)
    return [] if inline <= {"text", "code_inline"} and cells == 2 and items == 1 else ["active: card"]


def broken() -> None:
    """What is shown is not escaped."""
    import pipeline.report.markdown as markdown
    import stages.printing as printing

    printing.inert = lambda text: text
    markdown._escaped = lambda text: text


ROW = Row("texts that try to act", ("active",), trials, broken)
