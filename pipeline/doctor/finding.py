"""One thing that was looked at, and what is to be done about it."""

from dataclasses import dataclass

OK, NOTE, FAIL = "ok", "note", "FAIL"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        level: `OK`; `NOTE`: works, and could be better; `FAIL`: the parameters cannot run like this.
        subject: What was looked at.
        said: What it is like.
        hint: What to do, with the exact command where there is one.
    """

    level: str
    subject: str
    said: str
    hint: str = ""
