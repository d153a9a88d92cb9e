"""What a test needs of its host: skipped, with a reason, where that is missing."""

from importlib.util import find_spec

import pytest
import torch

# Tests of one thing on every kind of device; `tests/conftest.py` skips the GPU's half where there is none.
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
NEEDS_FAISS = pytest.mark.skipif(find_spec("faiss") is None, reason="needs FAISS: it is not installed")
NEEDS_DVC = pytest.mark.skipif(find_spec("dvc") is None, reason="needs DVC: it is not installed")


def chosen_device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list of one: the GPU that torch would use now, on a machine that may have none; it begins with the first."""
    chosen = [0]

    def exchange(index: int) -> int:
        before = chosen[0]
        chosen[0] = index if index >= 0 else before
        return before

    monkeypatch.setattr(torch.cuda, "_exchange_device", exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", exchange)
    return chosen
