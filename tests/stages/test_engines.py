"""From `run` in params.yaml to worker processes."""

import os

import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.params.model import Params, RunSettings
from pipeline.store.parts.run import ALONE
from pipeline.store.parts.share import WHOLE, Share
from stages import engines
from stages.engines import decoders_of, executing, see_chosen_gpus, share_of

VISIBLE = "CUDA_VISIBLE_DEVICES"


def params(**run: object) -> Params:
    return Params.model_construct(threads=2, run=RunSettings.model_validate(run))


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the environment leaves of four."""
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.delenv(VISIBLE)
    left = lambda: len([name for name in os.environ.get(VISIBLE, "0,1,2,3").split(",") if name in "0123"])  # noqa: E731
    monkeypatch.setattr(torch.cuda, "device_count", left)
    engines._see.cache_clear()


def places(device: str, **run: object) -> list[str]:
    see_chosen_gpus(params(**run))
    return [place[VISIBLE] for place in engines._places(params(**run), device)]


def test_there_is_a_process_for_each_gpu_and_none_for_one(monkeypatch):
    assert places("cuda") == ["0", "1", "2", "3"]
    monkeypatch.setenv(VISIBLE, "2")
    assert places("cuda") == [] and places("cuda", processes=1) == ["2"]


def test_listed_gpus_are_counted_among_those_that_a_scheduler_leaves(monkeypatch):
    assert places("cuda", devices=[3, 1]) == ["3", "1"]
    assert places("cuda", devices=[3, 1]) == ["3", "1"]  # asked for once more, when others are not seen any more
    engines._see.cache_clear()
    monkeypatch.setenv(VISIBLE, "1,3")
    assert places("cuda", devices=[1]) == [] and os.environ[VISIBLE] == "3"
    engines._see.cache_clear()
    monkeypatch.setenv(VISIBLE, "1,3")
    with pytest.raises(UserError, match="names GPU 2, but CUDA_VISIBLE_DEVICES leaves 2"):
        places("cuda", devices=[2])


def test_a_gpu_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="This machine has 1 of the GPUs 1, 7"):
        places("cuda", devices=[1, 7])


def test_processes_on_a_cpu_see_no_gpu_and_share_the_decoders():
    assert places("cpu") == [] and places("cpu", processes=3) == ["", "", ""]
    assert decoders_of(params(processes=3, workers=8), "cpu") == 2
    assert decoders_of(params(processes=3, workers=1), "cpu") == 1
    assert decoders_of(params(workers=8), "cpu") == 8


def test_without_processes_the_command_does_the_work_itself():
    with executing(params(), "cpu") as execution:
        assert execution.engine is ALONE.engine and execution.share is WHOLE


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4", "+1/4", "1.0/2", "²/4", "/", "1/"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UserError, match="is not a share"):
        share_of(text)


def test_shares_are_counted_from_one():
    assert share_of("3/16") == Share(3, 16) and share_of("") is WHOLE and not share_of("1/1").partial


@pytest.mark.parametrize(
    "run",
    [
        {"devices": []}, {"devices": [0, 0]}, {"devices": [-1]}, {"devices": "gpu"}, {"devices": [0], "device": "cpu"},
        {"devices": "cpu", "device": "cuda"}, {"devices": [0], "engine": "ray"}, {"engine": "spark"}, {"processes": 0},
        {"time_limit": 0}, {"memory": 0}, {"memory": "much"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(run):
    with pytest.raises(ValidationError):
        RunSettings.model_validate(run)
