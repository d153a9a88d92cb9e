"""A divided memory gives the numbers of a whole one, to the bit, and those of float64; and where its pieces go, and what is said."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import pipeline.retrieve.memory.aggregate as module
from pipeline.errors import UserError
from pipeline.retrieve.memory import bank, divided
from pipeline.retrieve.memory.aggregate import aggregate
from pipeline.retrieve.memory.bank import Bank, Search
from pipeline.retrieve.memory.divided import PIECE, Divided, placed
from pipeline.retrieve.memory.fused import FUSED_BLOCKS
from pipeline.retrieve.memory.perplexity import mean_entropy
from pipeline.retrieve.memory.products import CPU_BLOCKS, CUDA_BLOCKS, Blocks
from pipeline.retrieve.memory.sampling import sample
from pipeline.retrieve.profiles import profile
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.testing.fake_cuda import fake_cuda, watched
from tests.makers.devices import NEEDS_FAISS
from tests.retrieve.memory.test_aggregate import CASES, reference

BLOCKS = Blocks(queries=24, memory=16)


def cut(rows: Tensor, pieces: int) -> Divided:
    """`rows` in so many pieces, each of whole blocks; the last may be short."""
    blocks = -(-len(rows) // BLOCKS.memory)
    bounds = [min(len(rows), round(blocks * number / pieces) * BLOCKS.memory) for number in range(pieces + 1)]
    return Divided(tuple(rows[start:stop] for start, stop in pairwise(bounds) if stop > start))


def fields(found: object) -> list[Tensor]:
    return [*found.vectors, found.log_normaliser, found.top_score, found.neighbours]  # type: ignore[attr-defined]


@pytest.fixture(params=[False, True], ids=["brought", "moved"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Once blocks come to the sums, once the sums move: every other block lies on what counts as another device."""
    turns = iter(range(10**6))
    if request.param:
        monkeypatch.setattr(module, "place_of", lambda rows, home: torch.device(("cpu", "cpu:0")[next(turns) % 2]))
    return bool(request.param)


@pytest.mark.parametrize(("pieces", "values"), [(2, "keys"), (3, "another"), (4, "none"), (5, "both")])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_pieces_are_merged_exactly(case: object, pieces: int, values: str, elsewhere: bool) -> None:
    queries, keys, temperature = case(np.random.default_rng(7))  # type: ignore[operator]
    asked, memory, other = (torch.from_numpy(rows).float() for rows in (queries, keys, np.flip(keys, 1).copy()))
    whole_of = {"keys": [memory], "another": [other], "both": [memory, other], "none": []}[values]
    whole = aggregate(asked, memory, whole_of, temperature, BLOCKS)
    keys_cut = cut(memory, pieces)
    cut_of = [keys_cut if rows is memory else cut(rows, pieces) for rows in whole_of]
    found = aggregate(asked, keys_cut, cut_of, temperature, BLOCKS)
    for one, expected in zip(fields(found), fields(whole), strict=True):
        assert torch.equal(one, expected)
    averages, *statistics = reference(*(rows.double().numpy() for rows in (asked, memory)), [rows.double().numpy() for rows in whole_of], temperature)  # fmt: skip
    for one, expected in zip(fields(found), [*averages, *statistics], strict=True):
        np.testing.assert_allclose(one.double(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("pieces", [2, 5])
def test_profiles_draws_and_perplexities_are_those_of_a_whole_memory(pieces: int) -> None:
    draw = torch.Generator().manual_seed(0)
    samples, texts, there = (torch.nn.functional.normalize(torch.randn(size, generator=draw), dim=1) for size in ((90, 12), (3 * 2048 + 5, 12), (3 * 2048 + 5, 9)))  # fmt: skip
    at = [0, *(round(3 * number / pieces) * 2048 for number in range(1, pieces)), len(texts)]
    bounds = sorted(set(at))
    both = [Divided(tuple(rows[a:b] for a, b in pairwise(bounds))) for rows in (texts, there)]
    made, whole = profile(samples, both[0], both[1], 0.05), profile(samples, texts, there, 0.05)
    assert all(
        torch.equal(getattr(made, name), getattr(whole, name)) for name in ("vectors", "neighbours", "top_score")
    )
    drawn = [sample(samples, memory, 0.1, 7, torch.Generator().manual_seed(3)) for memory in (both[0], texts)]
    assert torch.equal(drawn[0].rows, drawn[1].rows) and torch.equal(drawn[0].neighbours, drawn[1].neighbours)
    assert mean_entropy(samples, both[0], 0.1) == mean_entropy(samples, texts, 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("places", [("cuda:0", "cuda:1", "cuda:2"), ("cpu",), ("cuda:1", "cpu")])
def test_nothing_meets_on_two_gpus(dtype: torch.dtype, places: tuple[str, ...]) -> None:
    with fake_cuda(), watched() as watch:
        keys, values = (
            Divided(tuple(torch.empty(32, width, dtype=dtype, device=place) for place in places)) for width in (12, 9)
        )
        queries = torch.empty(50, 12, dtype=dtype, device="cuda:0")
        for several in ((keys, values), (values,), ()):
            found = aggregate(queries, keys, several, 0.05, BLOCKS)
            assert {one.device for one in fields(found)} == {torch.device("cuda:0")}
        assert sample(queries, keys, 0.05, 3, torch.Generator(), BLOCKS).rows.device == torch.device("cuda:0")
    assert not watch.loose


def test_a_block_lies_in_one_piece() -> None:
    assert not any(PIECE % blocks.memory for blocks in (CPU_BLOCKS, CUDA_BLOCKS, FUSED_BLOCKS))
    rows = torch.arange(10)[:, None]
    memory = Divided((rows[:4], rows[4:8], rows[8:]))
    assert (len(memory), memory.shape) == (10, (10, 1))
    assert [memory[slice(start, start + 4)].flatten().tolist() for start in (0, 4, 8)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    for wrong in (slice(2, 6), slice(10, 12)):
        with pytest.raises(ValueError, match="divided memory|beyond the end"):
            memory[wrong]


ROWS, BYTES = 5 * PIECE + 100, 4 * 2


@pytest.mark.parametrize(
    ("rooms", "sizes", "said"),
    [([ROWS], [ROWS], ""), ([None], [ROWS], ""), ([ROWS - 1], [ROWS], "stays in host memory, and 0.0 GB are copied"),
     ([ROWS - 1, ROWS], [3 * PIECE, 2 * PIECE + 100], "divided over 2 GPUs"),
     ([PIECE + 9, 2 * PIECE, 2 * PIECE], [ROWS], "stays in"),
     ([PIECE + 9, 4 * PIECE, 3 * PIECE], [PIECE, 2 * PIECE, 2 * PIECE + 100], "divided over 3 GPUs"),
     ([0, 6 * PIECE], [5 * PIECE + 100], "it goes to cpu.")],
)  # fmt: skip
def test_where_a_memory_goes_is_said_before_anything_is_computed(
    rooms: list[int | None], sizes: list[int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    table, devices = torch.arange(ROWS * 2, dtype=torch.float32).view(ROWS, 2), [torch.device("cpu")] * len(rooms)
    left = iter(rooms)
    room = lambda device: None if (each := next(left)) is None else each * BYTES  # noqa: E731
    (found,) = placed("the memory of clip", [table], devices, room)
    pieces = found.pieces if isinstance(found, Divided) else (found,)
    assert torch.equal(torch.cat(pieces), table)
    assert all(len(piece) % PIECE == 0 for piece in pieces[:-1])
    assert said in caplog.text and bool(said) == ("the memory of clip, 82,020 rows, takes 0.0 GB" in caplog.text)
    if said and "stays" not in said:
        assert [len(piece) for piece in pieces] == [size for size in sizes if size]


def test_a_bank_that_does_not_fit_answers_as_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows, copy = (draw.normal(size=(300, width)).astype(np.float32) for width in (8, 6))
    keys, search = (
        [f"k{number}" for number in range(300)],
        Search(RetrieveSettings(temperature=0.5), "cpu", 1, 0, "clip"),
    )
    whole = Bank(keys, rows, search, copy)
    monkeypatch.setattr(bank, "placed", lambda name, tables, devices: [Divided((table,)) for table in tables])
    parted = Bank(keys, rows, search, copy)
    for one, other in zip(fields(parted.retrieve(rows[:40])), fields(whole.retrieve(rows[:40])), strict=True):
        assert torch.equal(one, other)
    assert parted.nearest(rows[:3], 4) == whole.nearest(rows[:3], 4)


@NEEDS_FAISS
@pytest.mark.parametrize("search", ["flat", "ivf"])
def test_an_index_over_what_does_not_fit_is_refused(search: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "placed", lambda name, tables, devices: [Divided((table,)) for table in tables])
    settings = RetrieveSettings(search=search)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"search is {search}.* does not fit on one device") as caught:
        Bank(["a"], np.ones((1, 4), np.float32), Search(settings, "cpu", 1, 0))
    assert "search: exact" in caught.value.hint
    assert divided.devices_beside("cuda:1") == [torch.device("cuda:1")]
