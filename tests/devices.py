"""Tests of one thing on every kind of device: the GPU's half is skipped where there is none (`tests/conftest.py`)."""

import pytest

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
