"""One thing of each kind is kept, and the one before is gone before the next is built."""

import gc
import weakref

import pytest

from pipeline.store import kept as module
from pipeline.store.kept import kept


class Thing:
    pass


@pytest.fixture(autouse=True)
def nothing_yet(monkeypatch):
    monkeypatch.setattr(module, "_kept", {})


def test_the_same_key_gives_the_same_thing_and_another_kind_is_apart():
    first = kept("space", "a", Thing)
    assert kept("space", "a", Thing) is first
    other = kept("memory", "a", Thing)
    assert other is not first and kept("space", "a", Thing) is first
    assert kept("space", "b", Thing) is not first


def test_the_one_before_goes_first():
    held = weakref.ref(kept("space", "a", Thing))

    def build():
        gc.collect()
        assert held() is None, "two would not fit"
        return Thing()

    kept("space", "b", build)


def test_what_could_not_be_built_leaves_nothing():
    kept("space", "a", Thing)
    with pytest.raises(ZeroDivisionError):
        kept("space", "b", lambda: 1 // 0)
    assert isinstance(kept("space", "a", Thing), Thing)
