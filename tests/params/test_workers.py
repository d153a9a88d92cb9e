"""`run.workers`: a number, or as many as this process has cores."""

import os

import pytest
from pydantic import ValidationError

from pipeline.params.model import RunSettings


def test_auto_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert RunSettings.model_validate({"workers": "auto"}).decoders == 3
    assert RunSettings.model_validate({"workers": 7}).decoders == 7
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert RunSettings.model_validate({"workers": "auto"}).decoders == 12


@pytest.mark.parametrize("workers", [0, -1, "all", 1.5])
def test_anything_else_is_refused(workers: object) -> None:
    with pytest.raises(ValidationError):
        RunSettings.model_validate({"workers": workers})
