"""Text from elsewhere inside Markdown: it is shown as it is, and neither becomes markup nor a link."""

import re

from pipeline.inert import inert

# Emphasis, code, links, tags, tables, entities, formulas. An underscore within a word does nothing.
_MARKUP = re.compile(r"[\\`*{}\[\]<>|~&$!#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What some readers make a link of without any markup; within code none of them does.
_LINK = re.compile(r"\S*(?:://|www\.|@)\S*")
# What makes a list, a rule or a heading at the start of a line.
_BLOCK = re.compile(r"^(?:[-+](?=\s|$)|[-=](?=[-=\s]*$)|\d{1,9}(?=[.)](?:\s|$)))")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def plain(value: object) -> Markdown:
    """`value` as one line of Markdown that reads like it."""
    if isinstance(value, Markdown):
        return value
    text = _one_line(str(value))
    found, end = "", 0
    for link in _LINK.finditer(text):
        found += _escaped(text[end : link.start()]) + code(link[0])
        end = link.end()
    found += _escaped(text[end:])
    return Markdown(_BLOCK.sub(lambda start: _guarded(start[0]), found))


def code(value: object) -> Markdown:
    """`value` as code within a line, also within a table."""
    text = _one_line(str(value)).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return Markdown(f"{fence}{room}{text}{room}{fence}" if text else "")


def _one_line(text: str) -> str:
    return inert(" ".join(text.split()))


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: "\\" + found[0], text)


def _guarded(start: str) -> str:
    return f"{start}\\" if start[0].isdigit() else f"\\{start}"
