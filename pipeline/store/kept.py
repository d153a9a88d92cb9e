"""What is expensive to build and that all parts of a folder need: a process builds it once and keeps it for the next part."""

from collections.abc import Callable
from typing import Any, TypeVar

Built = TypeVar("Built")

_kept: dict[str, tuple[object, Any]] = {}


def kept(kind: str, key: object, build: Callable[[], Built]) -> Built:
    """What `build` returns, or what it returned when it was last asked for with the same key.

    One thing of each kind is kept: a model or a memory fills a device, so the one before goes first.

    Args:
        kind: What it is.
        key: Everything that decides what is built.
        build: Makes it.
    """
    known = _kept.get(kind)
    if known and known[0] == key:
        found: Built = known[1]
        return found
    _kept.pop(kind, None)
    del known
    built = build()
    _kept[kind] = (key, built)
    return built
