"""Profiles in parts: the bits of one aggregation over all, a kill costs one part, and a finished set is not profiled again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.retrieve.memory import profile_parts
from pipeline.retrieve.memory.fused import FUSED_BLOCKS
from pipeline.retrieve.memory.products import CPU_BLOCKS, CUDA_BLOCKS
from pipeline.retrieve.memory.profile_parts import WINDOW, Asked, profiles_in_parts
from pipeline.retrieve.methods import coupling
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.pseudo_pairs import EXAMPLES_NAME, SCRATCH
from pipeline.store.lock import FolderLock
from pipeline.store.parts import names
from pipeline.store.parts.prune import remove
from tests.retrieve.methods.test_coupling import SETTINGS
from tests.retrieve.test_pseudo_pairs import content, run, wanted  # noqa: F401

MADE_FROM = {"settings": {"draws": 3}, "sources": {"clip_image": "abc"}}


def rows(count: int, width: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


@pytest.fixture
def asked() -> Asked:
    count = 2 * CPU_BLOCKS.queries + 77
    keys = [f"p{number}" for number in range(count)]
    return Asked(keys, rows(count, 24, 1), rows(301, 24, 2), rows(301, 20, 3), 0.05)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small parts; the sizes of those that are computed."""
    monkeypatch.setattr(profile_parts, "WINDOW", CPU_BLOCKS.queries)
    profiles, found = Asked.profiles, list[int]()

    def counted(self: Asked, rows: slice = slice(None)) -> object:
        made = profiles(self, rows)
        found.append(len(made.vectors))
        return made

    monkeypatch.setattr(Asked, "profiles", counted)
    return found


def same(first: object, second: object) -> bool:
    return all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("vectors", "neighbours", "top_score")
    )


def test_a_part_is_a_multiple_of_what_is_taken_at_a_time() -> None:
    assert not any(WINDOW % blocks.queries for blocks in (CPU_BLOCKS, CUDA_BLOCKS, FUSED_BLOCKS))


def test_parts_hold_the_bits_of_all_at_once_and_are_read_again(
    asked: Asked, computed: list[int], tmp_path: Path
) -> None:
    whole = asked.profiles()
    computed.clear()
    made = profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32")
    assert same(made, whole) and computed == [2048, 2048, 77]
    assert same(profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32"), whole) and len(computed) == 3


@pytest.mark.parametrize("change", ["temperature", "sources", "arithmetic"])
def test_those_of_something_else_are_not_used(asked: Asked, computed: list[int], tmp_path: Path, change: str) -> None:
    profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32")
    computed.clear()
    now = replace(asked, temperature=0.06) if change == "temperature" else asked
    made_from = {**MADE_FROM, "sources": {"clip_image": "other"}} if change == "sources" else MADE_FROM
    if change == "arithmetic":  # complete parts of another kind of device are made again, not mixed in
        made = profiles_in_parts(now, tmp_path / "p", made_from, "cpu bf16")
        assert not computed or same(made, now.profiles())
        return
    made = profiles_in_parts(now, tmp_path / "p", made_from, "cpu fp32")
    assert computed == [2048, 2048, 77] and same(made, now.profiles())


def test_a_kill_costs_the_part_in_work(
    asked: Asked, computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, counted = asked.profiles(), Asked.profiles
    computed.clear()

    def killed(self: Asked, rows: slice = slice(None)) -> object:
        if len(computed) == 2:
            raise KeyboardInterrupt
        return counted(self, rows)

    monkeypatch.setattr(Asked, "profiles", killed)
    with pytest.raises(KeyboardInterrupt):
        profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32")
    monkeypatch.setattr(Asked, "profiles", counted)
    computed.clear()
    assert same(profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32"), whole) and computed == [77]


def test_parts_in_subfolders_are_read_again_too(
    asked: Asked, computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PER_FOLDER", 1)
    whole = asked.profiles()
    computed.clear()
    for _ in range(2):
        assert same(profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32"), whole)
    assert computed == [2048, 2048, 77]
    parts = sorted(path.relative_to(tmp_path / "p").as_posix() for path in (tmp_path / "p").rglob("part-*.parquet"))
    assert parts == [f"part-{n:05d}/part-{n:05d}.parquet" if n else "part-00000.parquet" for n in range(3)]
    remove(tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_while_another_process_makes_them_they_are_computed_here(
    asked: Asked, computed: list[int], tmp_path: Path
) -> None:
    with FolderLock(tmp_path / "p"):
        assert same(profiles_in_parts(asked, tmp_path / "p", MADE_FROM, "cpu fp32"), asked.profiles())
    assert computed[0] == len(asked.samples)


def test_pairs_keep_them_until_they_are_finished_and_a_no_op_makes_none(
    wanted: PairSet,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coupled = replace(wanted, method="coupling", settings=SETTINGS, name="samples")
    monkeypatch.setattr(coupling.CouplingPairs, "rows", lambda self, part: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(coupled, tmp_path / "pairs")
    monkeypatch.undo()
    kept = sorted(
        path.relative_to(tmp_path / "pairs").as_posix() for path in (tmp_path / "pairs" / SCRATCH).rglob("part-*")
    )
    assert kept == [f"{SCRATCH}/clap/part-00000.parquet", f"{SCRATCH}/clip/part-00000.parquet"]
    monkeypatch.setattr(Asked, "profiles", lambda *_: pytest.fail("they were there"))
    run(coupled, tmp_path / "pairs")
    assert not (tmp_path / "pairs" / SCRATCH).exists()
    before = content(tmp_path / "pairs")
    assert run(coupled, tmp_path / "pairs").computed == 0 and content(tmp_path / "pairs") == before
    monkeypatch.undo()
    (tmp_path / "pairs" / EXAMPLES_NAME).write_bytes(b"?")
    assert run(coupled, tmp_path / "pairs").computed == 0 and content(tmp_path / "pairs") == before
    run(coupled, tmp_path / "again")
    assert content(tmp_path / "again") == before
