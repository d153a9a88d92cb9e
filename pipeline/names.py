"""What a person may call a corpus, a space, a job, a connection or a task.

Names become folders, DVC stages, arguments of commands, keys of params.yaml: one rule serves all of them.
"""

import re

from pipeline.errors import UserError
from pipeline.files.plain_yaml import shown

LONGEST = 64
RULE = (
    f"A name has letters, digits, - and _, begins with a letter or a digit, has at most {LONGEST} characters, "
    "and is a word: no number, date or YAML constant."
)
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")
# What some reader of YAML takes for something else when it stands without quotes.
_NO_WORD = re.compile(
    "null|true|false|yes|no|on|off|y|n|nan|inf|[0-9][0-9_-]*|0x[0-9a-f_]+|0b[01_]+|0o[0-7_]+|[0-9_]+e[-+]?[0-9_]+",
    re.IGNORECASE,
)
# Names of devices, which cannot be files on Windows.
_DEVICE = re.compile("con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)


def name_problem(name: object) -> str:
    """What is wrong with `name`; nothing if it is a name."""
    if not isinstance(name, str):
        return f"{shown(name)} is not a word: write one, such as c1"
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        suggested = re.sub("[^A-Za-z0-9_]+", "-", name).strip("-_")[:LONGEST]
        usable = suggested and not _NO_WORD.fullmatch(suggested) and not _DEVICE.fullmatch(suggested)
        return f"{shown(repr(name))} is not a name" + (f": write {suggested}" if usable else "")
    if _NO_WORD.fullmatch(name):
        return f"{name!r} is a number or a constant in YAML: write a word, such as c-{name}"
    if _DEVICE.fullmatch(name):
        return f"{name!r} is the name of a device, not of a folder: write {name}-1"
    return ""


def check_name(name: str, kind: str) -> None:
    """Refuse what is not a name.

    Raises:
        UserError: `name` cannot be what a `kind` is called.
    """
    if problem := name_problem(name):
        raise UserError(f"The name of a {kind}: {problem}.", RULE)
