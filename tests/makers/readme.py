"""The code in README.md, so that tests run what people read."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def code(heading: str, containing: str = "") -> str:
    """The first block of code below `heading` that contains some words, without its indentation."""
    section = re.split(r"^#+ ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    [text] = [part for part in section if part.startswith(heading + "\n")]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return next(
        re.sub("^    ", "", block, flags=re.MULTILINE).strip() + "\n" for block in blocks if containing in block
    )
