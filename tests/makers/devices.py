"""What a test needs of its host: skipped, with a reason, where that is missing."""

from importlib.util import find_spec

import pytest

# Tests of one thing on every kind of device; `tests/conftest.py` skips the GPU's half where there is none.
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
NEEDS_FAISS = pytest.mark.skipif(find_spec("faiss") is None, reason="needs FAISS: it is not installed")
NEEDS_DVC = pytest.mark.skipif(find_spec("dvc") is None, reason="needs DVC: it is not installed")
