"""A compiled step against float64 and against the uncompiled one, and what happens where nothing can be compiled."""

import copy
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import CppCompileError

from pipeline.train.info_nce.tiled import _swept
from pipeline.train.loop import Trainer
from pipeline.train.ranks.together import Ranks, acting_as
from pipeline.train.settings import TrainSettings
from pipeline.train.steps.arithmetic import layers_in
from pipeline.train.steps.compiled import NotCompiled, _why
from tests.makers.python_path import ROOT, python_path
from tests.makers.trainings import METHODS, SCHEDULE, STEPS, Killed, end, rows, same, trainer, trainer_of

Found = tuple[Tensor, dict[str, Tensor]]
Numbers = Mapping[str, Tensor]
SLOW = pytest.mark.slow  # the compiler takes ten to thirty seconds for a step


def step_of(
    terms: Callable[..., dict[str, Tensor]], heads: Mapping[str, nn.Module], batch: Numbers, *more: object
) -> Found:
    """Terms of the loss, and gradients of all weights."""
    found = terms(heads, batch, *more)
    found["loss"].backward()
    named = ((f"{space}.{name}", weight) for space, head in heads.items() for name, weight in head.named_parameters())
    return torch.stack([term.detach().double() for term in found.values()]), {
        name: weight.grad.double() for name, weight in named if weight.grad is not None
    }


def double(tensors: Numbers) -> dict[str, Tensor]:
    return {name: each.double() if each.is_floating_point() else each for name, each in tensors.items()}


def distance(one: Found, other: Found) -> float:
    """Of losses, and of all gradients taken together."""
    assert one[1].keys() == other[1].keys()
    pairs = (
        [one[0], torch.cat([each.flatten() for each in one[1].values()])],
        [
            other[0],
            torch.cat([each.flatten() for each in other[1].values()]),
        ],
    )
    return max(float((first - second).norm() / second.norm()) for first, second in zip(*pairs, strict=True))


@SLOW
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("bf16", 5e-2)])
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_step_is_the_definition(method: str, precision: str, limit: float) -> None:
    made, plain = trainer(method, precision, compile=True), trainer(method, precision)
    assert made.compiled and not plain.compiled
    assert same(made.state.moving(), plain.state.moving()), "trying it leaves no trace"
    batch, seed = made.batches.pick(torch.arange(8)), lambda: torch.Generator().manual_seed(1)
    exact = {space: copy.deepcopy(head).double() for space, head in plain.projectors.items()}
    with layers_in(precision, made.device):
        compiled = step_of(made._loss_terms, made.projectors, batch, seed())
        uncompiled = step_of(plain._loss_terms, plain.projectors, batch, seed())
    drawn = double(plain.objective.draw(batch, seed()))  # type: ignore[attr-defined]
    reference = step_of(plain.objective.loss_terms, exact, double(batch), drawn)  # type: ignore[attr-defined]
    assert distance(compiled, reference) < max(limit, 2 * distance(uncompiled, reference))
    assert distance(compiled, uncompiled) < 2 * limit
    for one, other in zip(made.state.moving().values(), plain.state.moving().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=limit, atol=limit)  # running statistics too


@SLOW
@pytest.mark.parametrize(("method", "precision"), [("cmcr", "fp32"), ("coupling", "bf16")])
def test_two_compiled_trainings_are_equal_and_so_is_a_killed_one(method: str, precision: str, tmp_path: Path) -> None:
    def begin() -> Trainer:
        return trainer(method, precision, compile=True)

    whole = end(begin(), tmp_path / "whole")
    with pytest.raises(Killed):
        end(begin(), tmp_path / "killed", kill=STEPS + 1)
    assert same(whole, end(begin(), tmp_path / "killed")) and same(whole, end(begin(), tmp_path / "again"))
    plain = end(trainer(method, precision), tmp_path / "plain")
    torch.testing.assert_close(whole["history"], plain["history"], rtol=5e-2, atol=1e-3)
    assert not same(whole, plain), "it was compiled"


def test_the_operation_that_the_compiler_does_not_look_into_says_the_truth_about_itself() -> None:
    for factors in (torch.float32, torch.bfloat16):
        left, right = (rows(24, 8, seed).to(factors) for seed in (1, 2))
        for wanted in ((True, True), (True, False), (False, True), (False, False)):
            torch.library.opcheck(_swept, (left, right, 24 * 7, *wanted))


WITHOUT = """
import logging
logging.basicConfig(level=logging.WARNING)
from pathlib import Path
from tempfile import mkdtemp
from tests.makers.trainings import end, same, trainer
made = trainer("oracle", compile=True)
print(made.compiled, same(end(made, Path(mkdtemp())), end(trainer("oracle"), Path(mkdtemp()))))
"""


@pytest.mark.parametrize("missing", ["No working C++ compiler", "File exists"])
def test_without_compiler_or_cache_the_step_runs_uncompiled_and_the_log_says_why(tmp_path: Path, missing: str) -> None:
    cache = tmp_path / "cache"
    if missing == "File exists":
        cache.write_text("not a folder")
    surroundings = {
        **os.environ, "PYTHONPATH": python_path(), "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(cache)
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True"], done.stderr[-2000:]
    assert "cannot be compiled" in done.stderr and missing in done.stderr


class Anyone:
    """A method of somebody else, which knows nothing of being compiled."""

    columns, terms = ("clip_text",), ("loss",)

    def prepare(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        return tables

    def __call__(self, projectors: Mapping[str, nn.Module], batch: Numbers, generator: object) -> dict[str, Tensor]:
        return {"loss": projectors["clip"](batch["clip_text"]).var()}


def test_what_draws_while_it_computes_and_what_ranks_divide_is_not_compiled() -> None:
    settings = TrainSettings(**SCHEDULE, compile=True)
    made = trainer_of(Anyone(), "mlp", settings, "fp32", None)
    assert not made.compiled and made.not_compiled == NotCompiled("Anyone draws while it computes")
    with acting_as(Ranks(0, 2, 2)):
        made = trainer("oracle", compile=True)
    assert not made.compiled and made.not_compiled == NotCompiled("several ranks divide it")


@pytest.mark.parametrize(
    ("refused", "retry"),
    [("as: can't write 44 bytes: No space left on device", True), ("cc1plus: Cannot allocate memory", True),
     ("g++: fatal error: Killed signal terminated program cc1plus", True), ("Python.h: No such file or directory", False),
     ("unrecognized option '-march=native'", False)],
)  # fmt: skip
def test_a_compiler_that_lacks_room_can_succeed_later(refused: str, retry: bool) -> None:
    wrapped = BackendCompilerFailed("inductor", CppCompileError(["g++", "main.cpp"], refused), [])
    found = _why(wrapped)
    assert found.retry == retry
    assert (refused.rpartition(": ")[2] in found.reason) == (": " in refused and "Killed" not in refused)
    assert _why(OSError(errno.ENOSPC, "No space left on device")).retry and not _why(RuntimeError("it fails")).retry
