"""Numbers in the names of parts, so that names sort like the numbers however many parts there are."""

import re

DIGITS = 5
_NUMBERED = re.compile(r"(?:part-)?([a-z]?)([0-9]+)\.(?:tar|parquet)")


def numbered(number: int) -> str:
    """`number` as the name of a part holds it: 00000 to 99999, then a100000 to a999999, b1000000 and so on.

    The letter counts the digits beyond five. Digits sort before letters, so the order of names is that of numbers.
    """
    digits = f"{number:0{DIGITS}d}"
    more = len(digits) - DIGITS
    return (chr(ord("a") + more - 1) if more else "") + digits


def number_of(name: str) -> int | None:
    """The number in the name of a part, such as ``00012.tar`` or ``part-a100000.parquet``; None if it has none."""
    found = _NUMBERED.fullmatch(name)
    return int(found[2]) if found else None
