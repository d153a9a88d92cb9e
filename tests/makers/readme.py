"""The code in README.md and docs, so that tests run what people read."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    """README.md, CONTRIBUTING.md and every page below docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[str]:
    """The blocks of code in Markdown, indented or fenced, without their indentation."""
    found = r"^```\w*\n(?P<fenced>.*?)^```$|(?P<indented>(?:^    [^\n]*\n|^\n(?=    ))+)"
    for match in re.finditer(found, text, re.MULTILINE | re.DOTALL):
        block = match["fenced"] or re.sub("^    ", "", match["indented"] or "", flags=re.MULTILINE)
        yield block.strip() + "\n"


def code(heading: str, containing: str = "") -> str:
    """The first block of code below the heading `heading`, on any page, that contains some words."""
    sections = [part for page in pages() for part in re.split(r"^#+ ", page.read_text(), flags=re.MULTILINE)]
    [text] = [part for part in sections if part.startswith(heading + "\n")]
    return next(block for block in blocks(text) if containing in block)
