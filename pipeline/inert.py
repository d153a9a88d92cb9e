"""Text from elsewhere (keys, captions, file names, column headers, other programs' errors), shown without doing anything.

A terminal obeys escape sequences, and bidirectional marks make a line read as another one.
"""

import base64
import hashlib
import re

# Control characters; marks that change direction or show nothing; separators that some readers take for a new line;
# halves of surrogate pairs, which no encoding can write. Joiners stay: several scripts need them.
_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def inert(text: str) -> str:
    """`text` as one line: whatever a terminal or a page could obey is written as its code, such as ``\\x1b``."""
    return _ACTIVE.sub(_code, text)


def inert_lines(text: str) -> str:
    """`text` of several lines, each made inert by itself; for what is laid out in lines by us."""
    return "\n".join(inert(line) for line in text.split("\n"))


def content_policy(style: str) -> str:
    """The Content-Security-Policy of a page with `style` as the exact content of its only style element."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
