"""Retrieval, training and ranking on a GPU that is not there: a tensor left on the CPU, or a wrong type, is an error here.

The forward passes of the spaces are among their conformance tests.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.connect import ProjectorSpec, build_projector
from pipeline.evaluate.ranking.counting import _Counter, _sweep
from pipeline.evaluate.ranking.positives import Positives
from pipeline.progress import Silent
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.bank import Bank, Search
from pipeline.retrieve.memory.products import Blocks, multiplies
from pipeline.retrieve.memory.sampling import sample
from pipeline.retrieve.profiles import features, profile
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.testing.fake_cuda import Watch, fake_cuda, on_cuda, watched
from pipeline.train.info_nce.tiled import TiledInfoNCE
from pipeline.train.loop import Trainer
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.methods.coupled import Coupled
from pipeline.train.methods.coupling import Coupling
from pipeline.train.methods.exmcr import ExMCR
from pipeline.train.methods.oracle import Oracle
from pipeline.train.settings import CouplingTrainSettings, LeafTrainSettings, TrainSettings
from pipeline.train.steps.draws import Draws
from tests.makers.links import make_link

TYPES = [torch.float32, torch.float16, torch.bfloat16]
BLOCKS = Blocks(queries=24, memory=37)  # multiples of nothing


def cuda(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("with_keys", [True, False])
def test_aggregation(dtype, with_keys):
    with fake_cuda(), watched() as watch:
        queries, keys, values = cuda(50, 16, dtype=dtype), cuda(90, 16, dtype=dtype), cuda(90, 40, dtype=dtype)
        found = aggregate(queries, keys, (keys, values) if with_keys else (values,), 0.05, BLOCKS)
    assert {one.device.type for one in (*found.vectors, found.log_normaliser, found.neighbours)} == {"cuda"}
    assert {one.dtype for one in (*found.vectors, found.top_score)} == {torch.float32}
    assert not watch.loose
    assert bool(watch.products) == (dtype == torch.float32), "16-bit factors are multiplied as they are"


@pytest.mark.parametrize("dtype", TYPES)
def test_sampling(dtype):
    with fake_cuda(), watched() as watch:
        found = sample(cuda(50, 16, dtype=dtype), cuda(90, 16, dtype=dtype), 0.05, 3, torch.Generator(), BLOCKS)
    assert found.rows.device.type == "cuda" and found.rows.shape == (50, 3) and not watch.loose


def test_profiles():
    with fake_cuda(), watched() as watch:
        made = profile(cuda(50, 16, dtype=torch.float16), cuda(90, 16, dtype=torch.float16), cuda(90, 8), 0.05)
        assert features(True, cuda(50, 16), made.vectors).shape == (50, 24)
    assert not watch.loose


@pytest.mark.parametrize(
    ("precision", "held"), [("auto", torch.float16), ("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_memory_is_held_and_asked_in_the_precision_of_the_settings(precision, held, monkeypatch):
    with fake_cuda() as mode, watched() as watch:
        # Arrays come from files, on the CPU.
        monkeypatch.setattr(torch, "from_numpy", lambda array: mode.from_tensor(torch.as_tensor(array)))
        rows = np.zeros((90, 16), np.float32)
        bank = Bank(["k"] * 90, rows, Search(RetrieveSettings(precision=precision), "cuda", 1, 0), copy=rows[:, :8])
        assert bank.embeddings.dtype == held and bank.embeddings.device.type == "cuda"
        assert [vectors.shape for vectors in bank.retrieve(rows[:5]).vectors] == [(5, 16), (5, 8)]
    assert not watch.loose


SPACES = {"clip": 14, "clap": 10}
LINK = make_link()
SCHEDULE = {"batch_size": 8, "epochs": 1}


def tables() -> dict[str, Tensor]:
    return {
        f"{space}_{kind}": cuda(20, width)
        for space, width in SPACES.items()
        for kind in ("text", "image" if space == "clip" else "audio")
    }


def heads(kind: str, spaces: tuple[str, ...] = ("clip", "clap")) -> dict[str, nn.Module]:
    spec = {space: ProjectorSpec(kind=kind, input=SPACES[space], hidden=12, dimension=14) for space in spaces}
    return {space: build_projector(one).to("meta") for space, one in spec.items()}


def coupling() -> Coupling:
    objective = Coupling(LINK, SPACES, CouplingTrainSettings(**SCHEDULE))
    pair = lambda rows, dtype, *widths: tuple(cuda(rows, width, dtype=dtype) for width in widths)  # noqa: E731
    objective._coupled = Coupled(
        pair(20, torch.float32, 14, 10), pair(20, torch.int32, 4, 4), pair(30, torch.float32, 14, 10)
    )
    return objective


PLAIN, LEAF = TrainSettings(**SCHEDULE), LeafTrainSettings(**SCHEDULE)
METHODS = {
    "cmcr": (lambda: CMCR(LINK, SPACES, PLAIN), "mlp", PLAIN),
    "cmcr of single layers": (lambda: CMCR(LINK, SPACES, PLAIN), "linear", PLAIN),
    "exmcr": (lambda: ExMCR(LINK, SPACES, LEAF), "decoupled", LEAF),
    "oracle": (lambda: Oracle(LINK, SPACES, PLAIN), "mlp", PLAIN),
    "coupling": (coupling, "mlp", PLAIN),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_an_epoch_of_training(method, precision, monkeypatch):
    """All but the walk back through the graph, for which autograd wants a device; the loss' own way back is below.

    Nor is there a CUDA graph: `tests/train/test_recorded.py` records the same step on the CPU.
    """
    monkeypatch.setattr(Draws, "generator", lambda *_, **__: torch.Generator())
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    make, kind, settings = METHODS[method]
    projectors = heads(kind, ("clap",) if kind == "decoupled" else ("clip", "clap"))
    with fake_cuda() as mode, watched() as watch:
        objective = make()
        rows = {"item": torch.zeros(20, dtype=torch.int64, device="cuda")} if method == "coupling" else tables()
        trainer = Trainer(objective, rows, on_cuda(mode, projectors), settings, Draws(0, "x"), precision, record=False)

        def backward(loss: Tensor) -> None:
            assert loss.device.type == "cuda" and loss.requires_grad and loss.dtype == torch.float32
            for parameter in trainer.parameters.values():
                parameter.grad = torch.empty_like(parameter)

        monkeypatch.setattr(torch.autograd, "backward", backward)
        trainer._epoch(0, Silent())
        assert {entry.device.type for state in trainer.optimizer.state.values() for entry in state.values()} == {"cuda"}
    assert bool(watch.products) == (precision == "fp32"), "16-bit factors are multiplied as they are"
    assert not watch.loose


@pytest.mark.parametrize("factors", TYPES)
@pytest.mark.parametrize("elements", [20, 10**6])
def test_the_gradient_of_the_loss(factors, elements):
    saved = SimpleNamespace(needs_input_grad=(True, True, False))
    saved.save_for_backward = lambda *tensors: setattr(saved, "saved_tensors", tensors)
    with fake_cuda(), watched() as watch:
        loss = TiledInfoNCE.forward(saved, cuda(8, 4), cuda(8, 4), 0.1, factors, elements)
        assert loss.device.type == "cuda" and loss.dtype == torch.float32
        first, second, *_ = TiledInfoNCE.backward(saved, cuda())
        assert {first.device.type, second.device.type} == {"cuda"} and first.shape == second.shape == (8, 4)
    assert bool(watch.products) == (factors == torch.float32)


def test_what_lies_on_two_devices_is_refused():
    # Counting ranks needs numbers, so a GPU that is not there cannot do it; but it must not mix devices unnoticed.
    here, there = torch.zeros(4, 3), torch.zeros(4, 3, device="meta")
    positives = Positives(np.zeros((4, 1), np.int64), 4)
    with pytest.raises(ValueError, match="different devices"):
        _Counter(here, there, positives)
    with pytest.raises(ValueError, match="different devices"):
        aggregate(here, there, (), 0.1)
    with pytest.raises(ValueError, match="different devices"):
        sample(here, there, 0.1, 1, torch.Generator())
    with fake_cuda(), pytest.raises(RuntimeError):
        _sweep(cuda(4, 3), torch.empty(4, 3), SimpleNamespace(add=print), None, (2, 2))


class Missing:
    """`torch.mm` of a torch, or of a card, without 16-bit factors and float32 sums."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> Tensor:
        raise self.error


LACKS = [
    TypeError("mm() got an unexpected keyword argument 'out_dtype'"),
    NotImplementedError("Could not run 'aten::mm.dtype' with arguments from the 'CUDA' backend."),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`"),
    RuntimeError("\"addmm_cuda\" not implemented for 'BFloat16'"),
]
FAILS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", LACKS, ids=str)
def test_a_gpu_without_16_bit_products_falls_back_and_says_so(error, monkeypatch, caplog):
    multiplies.cache_clear()
    monkeypatch.setattr(torch, "mm", Missing(error))
    with fake_cuda():
        assert not multiplies(torch.device("cuda"), torch.float16)
    multiplies.cache_clear()
    assert "fp32 is used" in caplog.text


@pytest.mark.parametrize("error", FAILS, ids=str)
def test_a_gpu_that_fails_does_not_fall_back(error, monkeypatch):
    multiplies.cache_clear()
    monkeypatch.setattr(torch, "mm", Missing(error))
    with fake_cuda(), pytest.raises(type(error)):
        multiplies(torch.device("cuda"), torch.float16)


def test_the_watch_sees_what_nobody_guards():
    with fake_cuda(), watched() as watch:
        cuda(3, 3) @ cuda(3, 3)
        torch.nn.functional.conv1d(cuda(1, 2, 9), cuda(4, 2, 3))
    assert len(watch.loose) == 2
    with Watch() as half, fake_cuda():
        cuda(3, 3, dtype=torch.float16) @ cuda(3, 3, dtype=torch.float16)
    assert not half.products
