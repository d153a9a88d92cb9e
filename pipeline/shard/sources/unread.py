"""What of a source is not read, counted under a name that says what it is."""

import re
from collections import Counter
from collections.abc import Mapping

# Names of endings come from foreign file names: anything else than a plain one is not repeated.
_ENDING = re.compile(r"[A-Za-z0-9_-]{1,12}")
# Endings may be serial numbers, and there may be millions of them.
KINDS = 20
OTHERS = "other endings"


class Unread:
    """Counts files, rows and captions that a reader passes over; nothing is passed over uncounted."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def file(self, name: str) -> None:
        """The file or tar member `name` is not read."""
        self._counts[ending_of(name)] += 1

    def add(self, what: str, count: int = 1) -> None:
        """`count` of `what` are not read."""
        if count:
            self._counts[what] += count

    def update(self, counts: Mapping[str, int]) -> None:
        """Add the counts of a walk."""
        for what, count in counts.items():
            self.add(what, count)

    def counts(self) -> dict[str, int]:
        """How many of what, the most frequent first; beyond the first kinds endings are taken together."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        found = dict(ordered[:KINDS])
        if rest := sum(count for _, count in ordered[KINDS:]):
            found[OTHERS] = found.get(OTHERS, 0) + rest
        return found


def ending_of(name: str) -> str:
    """The ending of a file name with its dot, in lower case, or what it has instead of a plain one."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    if not dot or not stem:
        return "no ending"
    return f".{ending.lower()}" if _ENDING.fullmatch(ending) else OTHERS


def said(counts: Mapping[str, int]) -> str:
    """The counts in words: ``.gif 1, .bmp 1``."""
    return ", ".join(f"{what} {count:,}" for what, count in counts.items())
