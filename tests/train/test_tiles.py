"""InfoNCE in blocks against the definition in float64, and the Triton kernels against plain torch, in Triton's interpreter."""

import os
import subprocess
import sys
import weakref
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.train import losses
from pipeline.train.info_nce.tiled import TiledInfoNCE, swept
from pipeline.train.losses import symmetric_info_nce


def units(batch: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(batch, width, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def definition(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    scores, own = first.double() @ second.double().T / temperature, torch.arange(len(first))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


# Sums of products of 300 rows; bf16 keeps 8 bits of each factor.
CLOSE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 1.5e-2}


@pytest.mark.parametrize("factors", CLOSE, ids=str)
@pytest.mark.parametrize("elements", [1, 300 * 7, 300 * 100, 300 * 299, 300 * 300, 10**9])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_blocks_of_any_size_are_the_definition(factors: torch.dtype, elements: int, temperature: float) -> None:
    kind = torch.float64 if factors == torch.float64 else torch.float32
    first, second = (units(300, 16, seed, kind).requires_grad_() for seed in (1, 2))
    loss = TiledInfoNCE.apply(first, second, temperature, factors, elements)
    found = torch.autograd.grad(3.0 * loss, [first, second])
    exact = [rows.detach().double().requires_grad_() for rows in (first, second)]
    expected = definition(exact[0], exact[1], temperature)
    assert loss.dtype == kind and loss.item() == pytest.approx(expected.item(), rel=CLOSE[factors])
    for ours, theirs in zip(found, torch.autograd.grad(3.0 * expected, exact), strict=True):
        assert ours.dtype == kind
        assert (ours - theirs).norm() / theirs.norm() < CLOSE[factors]


def test_only_the_wanted_gradient_is_computed_and_gradcheck_passes() -> None:
    first, second = units(6, 4, 1).requires_grad_(), units(6, 4, 2)
    assert torch.autograd.gradcheck(lambda rows: TiledInfoNCE.apply(rows, second, 0.1, torch.float64, 12), first)
    assert torch.autograd.gradcheck(lambda rows: TiledInfoNCE.apply(second, rows, 0.1, torch.float64, 12), first)
    assert not TiledInfoNCE.apply(second, second, 0.1, torch.float64, 12).requires_grad


class Held(TorchDispatchMode):
    """The most bytes of tensors that operations have made and that live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most, self._made = 0, list[weakref.ref[Tensor]]()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        given = {each.untyped_storage().data_ptr() for each in tree_leaves(args) if isinstance(each, Tensor)}
        made = function(*args, **(kwargs or {}))
        new = [each for each in tree_leaves(made) if isinstance(each, Tensor)]
        self._made += [weakref.ref(each) for each in new if each.untyped_storage().data_ptr() not in given]
        self.most = max(self.most, sum(each.nbytes for ref in self._made if (each := ref()) is not None))
        return made


def test_blocks_of_a_gradient_are_not_held_twice() -> None:
    left, right = (units(64, 512, seed, torch.float32) for seed in (1, 2))
    with Held() as held:
        _, found, _ = swept(left, right, 64 * 8, to_left=True, to_right=False)
    assert found is not None and found.nbytes < held.most < 1.5 * found.nbytes


@pytest.mark.parametrize("factors", [torch.float32, torch.bfloat16])
def test_opposite_and_equal_rows_and_one_row(factors: torch.dtype) -> None:
    """Positives whose exponential underflows; a softmax that is flat; a batch of one."""
    axes = torch.eye(16)
    opposite = TiledInfoNCE.apply(axes, -axes, 0.01, factors, 40).item()
    assert opposite == pytest.approx(
        definition(axes, -axes, 0.01).item(), rel=1e-2 if factors == torch.bfloat16 else 1e-6
    )
    same = axes[:1].expand(64, 16)
    assert TiledInfoNCE.apply(same, same, 0.01, factors, 64 * 5).item() == pytest.approx(4.158883, rel=1e-5)
    assert TiledInfoNCE.apply(axes[:1], axes[1:2], 0.01, factors, 10).item() == pytest.approx(0, abs=1e-6)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def test_a_large_batch_is_tiled_and_an_ordinary_one_keeps_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (units(256, 8, seed, torch.float32).requires_grad_() for seed in (1, 2))
    whole = symmetric_info_nce(first, second, 0.05)
    before = torch.autograd.grad(whole, [first, second])
    monkeypatch.setattr(losses, "WHOLE", 255)
    monkeypatch.setitem(losses.BLOCK, "cpu", 256 * 16)
    with Largest() as largest:
        tiled = symmetric_info_nce(first, second, 0.05)
        after = torch.autograd.grad(tiled, [first, second])
    assert largest.numbers <= 256 * 16
    torch.testing.assert_close(tiled, whole, rtol=1e-6, atol=0)
    for one, other in zip(after, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_within_autocast_factors_are_short_and_the_loss_is_not() -> None:
    first, second = (units(64, 8, seed, torch.float32).requires_grad_() for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        short = symmetric_info_nce(first, second, 0.05)
    full = symmetric_info_nce(first, second, 0.05)
    assert short.dtype == torch.float32 and short != full
    assert short.item() == pytest.approx(full.item(), rel=1e-2)


KERNELS = """
import torch
from pipeline.train.info_nce import blocks, kernels
draw = torch.Generator().manual_seed(0)
shapes = [(70, 150, 3), (64, 128, 0), (1, 1, 0), (33, 401, 200), (129, 129, 0), (5, 1000, 995), (130, 260, 130)]
for height, width, start in shapes:
    scores = torch.randn(height, width, generator=draw) * 40
    sums = blocks.log_sums(scores)
    for one, other in zip(kernels.log_sums(scores), sums, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5)
    for dtype in (torch.float32, torch.bfloat16):
        one, other = (each.gradient(scores.clone(), *sums, start, dtype) for each in (kernels, blocks))
        assert one.dtype == other.dtype == dtype
        torch.testing.assert_close(one, other, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-8)
parts = torch.randn(64, 500, generator=draw) * 40
assert torch.equal(kernels._log_sum(parts), torch.logsumexp(parts, 0))
print("equal")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton: this torch came without it")
def test_the_kernels_are_the_definition_of_a_block() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERNELS],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
