"""YAML files that people write: read within limits, and only where every reader takes the same from them.

PyYAML reads YAML 1.1 and DVC reads 1.2. What the two understand differently, or what a person did not mean
(`no` as false, `12:30` as 750), is refused with the line that says so.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.inert import inert

LARGEST_BYTES = 500_000
DEEPEST = 32
MOST_ALIASES = 200
MOST_NODES = 50_000  # with every alias written out: ten times what a project of 500 corpora needs
LONGEST_SHOWN = 80

# By what YAML takes an unquoted value for: what everybody takes for the same.
UNMISTAKABLE = {
    "tag:yaml.org,2002:bool": re.compile("true|True|TRUE|false|False|FALSE"),
    "tag:yaml.org,2002:int": re.compile("[-+]?(0|[1-9][0-9]{0,17})|0x[0-9a-fA-F]{1,15}"),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
    "tag:yaml.org,2002:null": re.compile("|~|null|Null|NULL"),
}
# Numbers of YAML 1.2 that 1.1 takes for words.
NUMBER_ELSEWHERE = re.compile(r"[-+]?0[0-9]+|0o[0-7]+|[-+]\.[0-9]+")
STRING, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class YamlFile:
    """What a file says, and where it says it by reference.

    Attributes:
        content: Mappings, lists and plain values.
        aliases: Line and name of each alias.
    """

    content: Any
    aliases: tuple[tuple[int, str], ...]


class _Refused(yaml.MarkedYAMLError):
    """It is YAML, but not of the kind that is read here."""


def shown(value: object, longest: int = LONGEST_SHOWN) -> str:
    """`value` as messages give it: on one line, nothing in it that a terminal obeys, at most `longest` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = inert(text[: longest + 1])
    return text if len(text) <= longest else text[: longest - 3] + "..."


def read_yaml(path: Path) -> YamlFile:
    """Read `path`.

    Raises:
        UserError: It is missing, is not UTF-8, is not YAML, is beyond a limit, or has a value that can be mistaken; the
            message gives the line.
    """
    loader = None
    try:
        loader = _PlainLoader(_text(path))
        content = loader.get_single_data()
        return YamlFile(content, tuple(loader.aliases))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _explained(error, f"{path}{where}") from error
    except yaml.reader.ReaderError as error:
        raise UserError(f"{path} holds the control character {error.character:#x}.", "Remove it.") from error
    finally:
        if loader:
            loader.dispose()


def _explained(error: yaml.MarkedYAMLError, place: str) -> UserError:
    problem = str(error.problem or error.context)
    if isinstance(error, _Refused):
        return UserError(f"{place}: {problem}.", error.note or "")
    if "'\\t'" in problem:
        return UserError(f"{place}: this line contains a tab.", "Indent with spaces.")
    return UserError(f"{place}: this is not valid YAML: {shown(problem, 200)}.", "Correct the line.")


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file.", "Name the file that holds the settings.")
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Run in the project's folder, or name the right file.")
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(
            f"{path} is larger than {LARGEST_BYTES:,} bytes.", "Settings are small: is this the right file?"
        )
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise UserError(f"{path} is UTF-16 or UTF-32.", "Save it as UTF-8.")
    if conflict := _CONFLICT.search(content):
        line = content[: conflict.start()].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: git left a conflict of two versions here.", "Keep one of them, without the marks."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 (line {line}).", "Save it as UTF-8.") from error


# As git writes it: both marks, each on a line of its own.
_CONFLICT = re.compile(rb"^<{7} .*$(?=[\s\S]*^={7}\r?$)", re.MULTILINE)


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader with limits, which refuses keys that occur twice and values that can be mistaken."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.aliases: list[tuple[int, str]] = []
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of finished nodes, with every alias in them written out

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        alias = isinstance(event, yaml.AliasEvent)
        if alias:
            self.aliases.append((event.start_mark.line + 1, event.anchor))
            _refuse_if(len(self.aliases) > MOST_ALIASES, f"there are more than {MOST_ALIASES} aliases", event)
        elif event.tag not in (None, "!", STRING):
            _refuse_if(True, f"there is a tag, {shown(event.tag)}", event, "Write plain values without tags.")
        self._depth += 1
        _refuse_if(self._depth > DEEPEST, f"it is nested deeper than {DEEPEST} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            if not alias:
                self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
            size = self._sizes.get(id(node))
            _refuse_if(size is None, "an alias stands within what it refers to", event)
            too_large = size is not None and size > MOST_NODES
            _refuse_if(too_large, f"with its aliases written out it says more than {MOST_NODES:,} things", event)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_scalar_node(anchor)
        if CONTROL.search(node.value):
            _refuse_if(True, f"{shown(repr(node.value))} holds a control character", node, "Remove it.")
        if event.style is None and event.tag is None and not _is_unmistakable(node):
            _refuse_if(True, *_mistakable(node))
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            _refuse_if(not isinstance(key_node, yaml.ScalarNode), "a key is a list or a mapping", key_node)
            key = self.construct_object(key_node, deep=True)
            _refuse_if(key in seen, f"the key {shown(repr(key))} occurs twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


# As in YAML 1.2, and as everybody expects: 1e-3 is a number also without a point.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _is_unmistakable(node: yaml.ScalarNode) -> bool:
    if node.tag in (STRING, MERGE):
        return not NUMBER_ELSEWHERE.fullmatch(node.value)
    return node.tag in UNMISTAKABLE and UNMISTAKABLE[node.tag].fullmatch(node.value) is not None


def _mistakable(node: yaml.ScalarNode) -> tuple[str, yaml.ScalarNode, str]:
    value = shown(node.value)
    if node.tag.endswith("bool"):
        said, instead = "means true or false to some programs and is a word to others", "Write true or false, or"
    elif node.tag.endswith("timestamp"):
        said, instead = "is read as a date", "If it is a word,"
    else:
        said, instead = "is a number or a word, depending on who reads it", "Write a plain number, or"
    return f"{value} {said}", node, f'{instead} put it in quotes: "{value}".'


def _refuse_if(wrong: bool, problem: str, at: Any, hint: str = "Correct the line.") -> None:
    if wrong:
        raise _Refused(problem=problem, problem_mark=at.start_mark, note=hint)
