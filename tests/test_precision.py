"""No product and no convolution is rounded to fewer bits than its place in the code says, whatever the switches of torch say."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline import precision
from pipeline.connect import ProjectorSpec, build_projector
from pipeline.errors import UserError
from pipeline.evaluate.ranking.counting import rank, rank_both
from pipeline.evaluate.ranking.positives import Positives
from pipeline.explore.gallery import Gallery
from pipeline.explore.index import nearest_of
from pipeline.plan.probe import operations_per_second
from pipeline.precision import arithmetic_of, check_float32, dtype_of, may_round, multiplying, product, rounding_allowed
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.bank import Bank, Search
from pipeline.retrieve.memory.neighbours import TopK, aggregate_top_k
from pipeline.retrieve.memory.perplexity import mean_entropy
from pipeline.retrieve.memory.products import arithmetic
from pipeline.retrieve.memory.sampling import sample, sample_top_k
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.testing.fake_cuda import MULTIPLY, watched
from pipeline.train.loop import Trainer
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.settings import TrainSettings
from pipeline.train.steps.draws import Draws
from tests.makers.devices import NEEDS_FAISS
from tests.makers.imports import imported_names
from tests.makers.links import make_link

ROOT = Path(__file__).parents[1]
ROWS = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
ARRAY, OWN = ROWS.numpy(), Positives(np.arange(40)[:, None], 40)
SWITCHES: list[Callable[[], object]] = [
    lambda: torch.set_float32_matmul_precision("medium"),
    lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),  # old and new ones now contradict each other
    lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
    lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),  # type: ignore[attr-defined]
    lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),  # type: ignore[attr-defined]
    lambda: setattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", True),
]


@pytest.fixture(autouse=True)
def _switches_as_before() -> Any:
    before, everywhere = precision._Switches.read(), torch.backends.fp32_precision
    yield
    torch.backends.fp32_precision = everywhere
    before.write()


@pytest.mark.parametrize("turn", range(len(SWITCHES)))
def test_switches_are_set_within_and_as_they_were_afterwards(turn: int) -> None:
    SWITCHES[turn]()
    before = precision._Switches.read()
    with multiplying():
        assert precision._Switches.read() == precision._EXACT
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
        with multiplying("tf32"):
            assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
        assert precision._Switches.read() == precision._EXACT
    assert precision._Switches.read() == before
    with pytest.raises(KeyError), multiplying():
        raise KeyError
    assert precision._Switches.read() == before


@pytest.mark.parametrize("variable", ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"])
def test_environment_variables_do_not_reach_a_product(variable: str) -> None:
    code = (
        "import torch\nfrom pipeline.precision import multiplying\n"
        "print(torch.backends.cuda.matmul.allow_tf32)\n"
        "with multiplying(): print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.conv.fp32_precision)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, variable: "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1] == "False ieee"
    if variable.startswith("TORCH"):
        assert done.stdout.splitlines()[0] == "True", "the variable works where nobody says what is wanted"


class Rounding(TorchDispatchMode):
    """What NVIDIA_TF32_OVERRIDE does: factors keep 10 bits of their fraction, whatever torch asks for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(part in function.overloadpacket.__name__ for part in MULTIPLY):
            args = [
                rounded(each) if isinstance(each, Tensor) and each.dtype == torch.float32 else each for each in args
            ]
        return function(*args, **(kwargs or {}))


def rounded(factor: Tensor) -> Tensor:
    return ((factor.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def test_a_device_that_rounds_all_the_same_is_refused_in_words() -> None:
    check_float32("cpu")
    with Rounding(), pytest.raises(UserError, match="rounded") as caught:
        check_float32("cpu")
    assert "NVIDIA_TF32_OVERRIDE" in caught.value.hint


def test_products_on_a_cpu_have_the_same_bits_within_and_without() -> None:
    picture, filters = ROWS.view(1, 5, 8, 8), torch.randn(4, 5, 3, 3)
    made = lambda: (ROWS @ ROWS.T, F.conv2d(picture, filters), F.linear(ROWS, ROWS))  # noqa: E731
    before = made()
    with multiplying():
        assert all(torch.equal(one, other) for one, other in zip(before, made(), strict=True))


class CpuSwitch(TorchDispatchMode):
    """What torch's switch for products of float32 on a CPU says at each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in ("mm", "addmm", "addmm_"):
            self.said.add(torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]
        return function(*args, **(kwargs or {}))


@pytest.fixture(params=[True, False], ids=["instructions", "none"])
def has_instructions(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A CPU with or without instructions for bfloat16, whatever this one is; where torch may round, this one may not."""
    monkeypatch.setattr(precision, "_has_bf16_instructions", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("held", ["bf16", "fp16", "fp32"])
def test_a_cpu_may_round_what_is_bfloat16_already_and_nothing_else(has_instructions: bool, held: str) -> None:
    dtype = dtype_of(held)
    many = torch.nn.functional.normalize(torch.randn(300, 96, generator=torch.Generator().manual_seed(1)), dim=1)
    rows, allowed = many.to(dtype), has_instructions and held == "bf16"
    logits = rows.double() @ rows.double().T
    for found, expected in (
        (lambda: product(rows, rows.T), logits),
        (lambda: aggregate(rows, rows, (rows,), 0.1).vectors[0], torch.softmax(logits / 0.1, 1) @ rows.double()),
    ):
        with multiplying(), CpuSwitch() as switch:
            made = found()
        assert switch.said == {"bf16" if allowed else "ieee"}
        assert torch.backends.mkldnn.matmul.fp32_precision != "bf16"  # type: ignore[attr-defined]
        # With a weight rounded to 8 bits, an average of unit vectors is off by 2^-9 of its length at most.
        assert made.dtype == torch.float32
        torch.testing.assert_close(made.double(), expected, rtol=0, atol=2**-9 if allowed else 2e-6)


def test_permission_to_round_ends_with_an_error_too() -> None:
    before = precision._Switches.read()
    with pytest.raises(KeyError), rounding_allowed():
        raise KeyError
    assert precision._Switches.read() == before


def test_pairs_of_a_cpu_that_rounds_are_of_another_kind(
    has_instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    assert may_round(cpu, torch.bfloat16) == has_instructions and not may_round(cpu, torch.float16)
    monkeypatch.setattr("pipeline.retrieve.memory.products.rounds", lambda device, dtype: False)
    assert arithmetic("bf16", "cpu") == "cpu bf16" and arithmetic("auto", "cpu") == "cpu fp32"
    monkeypatch.setattr("pipeline.retrieve.memory.products.rounds", lambda device, dtype: dtype == torch.bfloat16)
    assert arithmetic("bf16", "cpu") == "cpu bf16 rounded" and arithmetic("fp16", "cpu") == "cpu fp16"


def test_whether_a_cpu_rounds_is_tried_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    precision.rounds.cache_clear()
    monkeypatch.setattr(precision, "_has_bf16_instructions", lambda: True)
    with Rounding():
        assert precision.rounds(torch.device("cpu"), torch.bfloat16)
    precision.rounds.cache_clear()
    monkeypatch.setattr(precision, "_has_bf16_instructions", lambda: False)
    with Rounding():
        assert not precision.rounds(torch.device("cpu"), torch.bfloat16)
    precision.rounds.cache_clear()


def test_names() -> None:
    assert arithmetic_of("cuda:1", "fp16") == "cuda fp16" and arithmetic_of(torch.device("cpu"), "fp32") == "cpu fp32"
    assert dtype_of("tf32") == torch.float32
    with pytest.raises(UserError, match="int3"):
        dtype_of("int3")


def train() -> None:
    spaces = {"clip": 8, "clap": 8}
    settings = TrainSettings(batch_size=10, epochs=1)
    heads = {name: build_projector(ProjectorSpec(kind="mlp", input=8, hidden=9, dimension=7)) for name in spaces}
    objective = CMCR(make_link(), spaces, settings)
    trainer = Trainer(objective, dict.fromkeys(objective.columns, ROWS), heads, settings, Draws(0, "x"))
    trainer.step(0, dict.fromkeys(objective.columns, ROWS))


def bank() -> Bank:
    return Bank(["k"] * 40, ARRAY, Search(RetrieveSettings(), "cpu", 1, 0))


def index() -> TopK:
    return TopK.flat(ROWS, 5, 1)


ENTRIES: dict[str, Callable[[], object]] = {
    "aggregate": lambda: aggregate(ROWS, ROWS, [ROWS], 0.1),
    "aggregate, top k": lambda: aggregate_top_k(index(), ROWS, ROWS, (ROWS,), 0.1),
    "sample": lambda: sample(ROWS, ROWS, 0.1, 2, torch.Generator()),
    "sample, top k": lambda: sample_top_k(index(), ROWS, ROWS, 0.1, 2, torch.Generator()),
    "entropy": lambda: mean_entropy(ROWS, ROWS, 0.1),
    "memory": lambda: bank().retrieve(ARRAY),
    "search": lambda: nearest_of(Gallery("c", "image", ["k"] * 40, ROWS, ["s"], [40]), ROWS[0], 3),
    "neighbours": lambda: bank().nearest(ARRAY, 3),
    "training": train,
    "ranks": lambda: rank(ARRAY, ARRAY, OWN),
    "ranks of both": lambda: rank_both(ARRAY, ARRAY, OWN),
    "probe": lambda: operations_per_second("cpu"),
}


TOP_K = {"aggregate, top k", "sample, top k"}


@pytest.mark.parametrize(
    "entry", [pytest.param(name, marks=NEEDS_FAISS) if name in TOP_K else name for name in ENTRIES]
)
def test_what_multiplies_says_in_which_format(entry: str) -> None:
    with watched() as watch:
        ENTRIES[entry]()
    assert watch.products and not watch.loose


# Modules that multiply tensors: those that say the format themselves, and those that only run inside of such a one.
SAYS = {
    "pipeline/connect/connected_space.py", "pipeline/connect/text_profile.py", "pipeline/demo/pretrain/contrast.py",
    "pipeline/explore/explorer.py", "pipeline/explore/index.py", "pipeline/explore/plane.py", "pipeline/export/encoder.py",
    "pipeline/evaluate/ranking/counting.py", "pipeline/plan/probe.py", "pipeline/precision.py", "pipeline/retrieve/memory/aggregate.py",
    "pipeline/retrieve/memory/bank.py", "pipeline/retrieve/methods/coupling.py", "pipeline/retrieve/memory/sampling.py",
    "pipeline/spaces/__init__.py", "pipeline/train/loop.py",
}  # fmt: skip
INSIDE = {
    "pipeline/retrieve/memory/products.py": "aggregate and sample",
    "pipeline/retrieve/memory/plain.py": "aggregate",
    "pipeline/retrieve/memory/fused.py": "aggregate",
    "pipeline/retrieve/memory/tiles.py": "aggregate",
    "pipeline/train/info_nce/": "a step of the loop",
    "pipeline/train/methods/textme.py": "a step of the loop",
    "pipeline/connect/projectors.py": "a step of the loop, or a connected space",
    "pipeline/connect/bridge.py": "a connected space",
    "pipeline/evaluate/ranking/sorted_ranks.py": "float64",
    "pipeline/spaces/": "encode, which load_space wraps; test_conformance.py watches every family",
    "pipeline/testing/": "watches what others multiply",
}
CALLS = {"mm", "bmm", "addmm", "addmm_", "matmul", "einsum", "linear", "conv1d", "conv2d", "scaled_dot_product_attention",
         "Linear", "Conv1d", "Conv2d", "vecdot", "stft"}  # fmt: skip


def multiplies_tensors(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    products = any(isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) for node in ast.walk(tree))
    return "torch" in imported_names(tree) and (products or bool(names & CALLS))


def test_no_module_multiplies_without_being_held_to_it() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py") if multiplies_tensors(path)}
    unheld = {name for name in found - SAYS if not name.startswith(tuple(INSIDE))}
    assert not unheld, "say the precision with `multiplying`, and list the module in SAYS or INSIDE"
    silent = [name for name in SAYS if "multiplying" not in (ROOT / name).read_text()]
    assert not silent
