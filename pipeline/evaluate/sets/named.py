"""Tables about samples name them by key, or by the name of the file that the key was made of."""

import logging
from collections.abc import Collection, Mapping
from typing import TypeVar

from pipeline.errors import UserError
from pipeline.keys import key_of_file, key_of_name, key_of_path

log = logging.getLogger(__name__)

Value = TypeVar("Value")

# Tables of published sets name the videos that sounds and frames were taken from.
VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def by_sample(table: Mapping[str, Value], samples: Mapping[str, str], where: str, corpus: str) -> dict[str, Value]:
    """What a table says of `samples`, by key or item.

    A sample is named by its key, by the path of its file (`sub/my photo.png`), or by that without its ending; so is the
    item that it shows. A table may be about more samples than these. Where it does not name all of these either, its
    names that are none of a sample are a warning: they may be those of the missing ones, in another spelling.

    Args:
        table: Values by name, as the table has them.
        samples: By the key of each sample, its item.
        where: The table, for messages.
        corpus: The samples, for messages.

    Raises:
        UserError: Two names of the table are one sample, and say different things of it.
    """
    known = {*samples, *samples.values()}
    found: dict[str, Value] = {}
    named_as: dict[str, str] = {}
    unmatched: list[str] = []
    for name, value in table.items():
        key = key_among(name, known)
        if not key:
            unmatched.append(name)
        elif key in found and found[key] != value:
            raise UserError(
                f"{where} gives different values for {named_as[key]!r} and {name!r}, which are the same sample of {corpus}.",
                "Keep one of the two rows.",
            )
        else:
            found[key], named_as[key] = value, name
    if unmatched and not all(key in found or item in found for key, item in samples.items()):
        log.warning(
            "%s: %d of %d names are not samples of %s, such as %s", where, len(unmatched), len(table), corpus,
            ", ".join(map(repr, unmatched[:2])),
        )  # fmt: skip
    return found


def key_among(name: str, known: Collection[str]) -> str:
    """The key in `known` of the sample that is called `name`; empty if there is none."""
    candidates = [name, key_of_name(name), key_of_file(name)]
    if name.lower().endswith(VIDEOS):
        candidates.append(key_of_path(name))
    return next((key for key in candidates if key in known), "")
