"""Where the tables of a training go, and what is said before anything is read; batches of tables that lie elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from pipeline.connect import ProjectorSpec
from pipeline.connect.config import ConnectionConfig
from pipeline.errors import UserError
from pipeline.precision import dtype_of
from pipeline.store import PAIRS, Store
from pipeline.testing.fake_cuda import fake_cuda
from pipeline.train import memory
from pipeline.train.memory import file_bytes, free_bytes, place_for, table_bytes
from pipeline.train.ranks.together import ALONE
from pipeline.train.run import train_connection
from pipeline.train.settings import LeafTrainSettings, TrainSettings
from pipeline.train.steps.batches import Batches
from pipeline.train.steps.size import step_bytes
from pipeline.train.tables import load_tables
from tests.makers.devices import chosen_device
from tests.makers.links import make_link
from tests.makers.trainings import METHODS, trainer
from tests.train.conftest import Pairs, write_pairs

GB = 10**9
FREE = {"cuda": 24 * GB, "cpu": 64 * GB}


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: FREE[device.split(":")[0]])


@pytest.mark.parametrize(
    ("tables", "step", "device", "streams", "place"),
    [(20, 4, "cuda", True, "cuda"), (20, 5, "cuda", True, "cpu"), (44, 2, "cuda:1", True, "cpu"),
     (60, 4, "cpu", False, "cpu"), (23, 1, "cuda:1", False, "cuda:1")],
)  # fmt: skip
def test_tables_that_do_not_fit_a_gpu_stay_on_the_cpu(
    tables: int, step: int, device: str, streams: bool, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert place_for("audio_image", tables * GB, step * GB, device, streams) == place
    said = f"{tables}.0 GB and a step about {step}.0 GB, and 24.0 GB are free on {device}"
    assert (said in caplog.text) == (place != device)


@pytest.mark.parametrize(
    ("tables", "step", "device", "streams", "hint"),
    [(44, 2, "cuda", False, "fewer queries"), (65, 1, "cpu", False, "fewer queries"), (65, 1, "cuda", True, "fewer queries"),
     (1, 25, "cuda", True, "train.batch_size"), (1, 70, "cpu", False, "train.batch_size")],
)  # fmt: skip
def test_what_fits_nowhere_is_refused_with_its_size(
    tables: int, step: int, device: str, streams: bool, hint: str
) -> None:
    with pytest.raises(
        UserError, match=rf"audio_image take {tables}.0 GB.* {step}.0 GB.*are free on {device}"
    ) as caught:
        place_for("audio_image", tables * GB, step * GB, device, streams)
    assert hint in caught.value.hint


def test_a_system_that_does_not_say_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert place_for("x", 10**15, 10**15, "cpu", False) == "cpu"


def test_what_is_free_is_the_least_of_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as `man 5 proc_meminfo` and the kernel's cgroup-v2 document have them."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes("cpu") is None
    (tmp_path / "meminfo").write_text("MemTotal:       16000000 kB\nMemFree: 1000000 kB\nMemAvailable:    8000000 kB\n")
    assert free_bytes("cpu") == 8_192_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes("cpu") == 8_192_000_000
    for name, content in {"max": "4000", "current": "3000", "stat": "anon 1000\ninactive_file 500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert free_bytes("cpu") == 1500


def test_what_torch_keeps_for_its_next_tensors_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a first link its tables are gone, and torch still holds their memory: the driver says it is in use."""
    said = {"mem_get_info": (4 * GB, 24 * GB), "memory_reserved": 18 * GB, "memory_allocated": 3 * GB}
    for name, answer in said.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)
    assert free_bytes("cuda") == free_bytes("cuda:0") == 19 * GB


def test_bytes_are_those_of_the_columns_that_are_read(make_pairs: Callable[..., Pairs]) -> None:
    pairs = make_pairs(count=96)
    store = Store.open(pairs.root / "audio_image" / "clip-clap" / "overlap", PAIRS)
    matrices = {name: matrix.nbytes for name, matrix in pairs.columns.items()}
    assert table_bytes([store, store], list(matrices)) == 2 * sum(matrices.values())
    assert table_bytes([store], ["clip_text"]) == matrices["clip_text"]
    assert sum(matrices.values()) < file_bytes([store]) < sum(matrices.values()) + 40_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variance", [0.0, 0.004])
def test_noise_that_lies_there_until_a_step_ends_counts(method: str, variance: float) -> None:
    made = trainer(method, noise_variance=variance)
    drawn = made.objective.draw(made.batches.pick(torch.arange(8)), torch.Generator())  # type: ignore[attr-defined]
    noise = sum(each.nbytes for each in drawn.values() if each.is_floating_point())
    assert (noise > 0) == (variance > 0 and method not in ("oracle", "textme"))
    spec = ProjectorSpec(kind="mlp", input=14, hidden=12, dimension=14)
    config = ConnectionConfig.model_construct(projectors={"clip": spec})

    def bytes_with(width: int) -> int:
        made.objective.noise_width = width  # type: ignore[attr-defined]
        return step_bytes(config, made.objective, made.settings, "cpu", ALONE)

    assert bytes_with(made.objective.noise_width) - bytes_with(0) == noise  # type: ignore[attr-defined]


def test_a_training_that_does_not_fit_reads_nothing(
    make_pairs: Callable[..., Pairs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(Store, "read_part", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UserError, match="tables of audio_image.* take 0.0 GB"):
        train_connection(
            [(make_link(), TrainSettings(batch_size=40, epochs=1))], "cmcr", pairs.root, tmp_path / "model"
        )


@pytest.mark.parametrize(("kind", "most"), [("fp16", 5e-3), ("bf16", 5e-2)])
@pytest.mark.parametrize("method", ["cmcr", "exmcr"])
def test_tables_in_16_bits_take_half_and_train_nearly_the_same(
    make_pairs: Callable[..., Pairs], tmp_path: Path, method: str, kind: str, most: float
) -> None:
    pairs = make_pairs(count=96)
    folder = pairs.root / "audio_image" / "clip-clap" / "overlap"
    link = make_link(base="clip" if method == "exmcr" else "").model_copy(update={"name": "clip-clap"})
    if method == "exmcr":
        shutil.rmtree(folder)
        write_pairs(folder, pairs.columns, "exmcr")
    warm = {"temperature": 0.1} if method == "exmcr" else {"temperature_overlap": 0.1, "temperature_pseudo": 0.1}
    kinds = {"cmcr": TrainSettings, "exmcr": LeafTrainSettings}
    settings = kinds[method](batch_size=40, epochs=2, **warm)
    loss, held = {}, {}
    for tables in ("fp32", kind):
        chosen = settings.model_copy(update={"tables": tables})
        output = tmp_path / tables
        [result] = train_connection([(link, chosen)], method, pairs.root, output).values()
        assert result.computed == 2
        loss[tables] = pq.read_table(output / "clip-clap" / "history.parquet")["loss"].to_numpy()
        held[tables] = json.loads((output / "clip-clap" / "config.json").read_text())["links"][0]["train"].get("tables")
        [again] = train_connection([(link, chosen)], method, pairs.root, output).values()
        assert again.computed == 0
    assert held == {"fp32": None, kind: kind}, "those of earlier versions are not stale"
    assert not np.array_equal(loss[kind], loss["fp32"])
    np.testing.assert_allclose(loss[kind], loss["fp32"], rtol=most)
    store, columns = Store.open(folder, PAIRS), ["clip_text", "clap_audio"]
    assert 2 * table_bytes([store], columns, dtype_of(kind)) == table_bytes([store], columns)
    short = load_tables([store], columns, "cpu", dtype_of(kind))
    assert {table.dtype for table in short.values()} == {dtype_of(kind)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_batch_is_float32_whatever_the_tables_are(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    tables = {"a": torch.randn(9, 3).to(dtype), "item": torch.arange(9)}
    rows = torch.tensor([4, 1, 8])
    for streamed in (False, True):
        batches = Batches(tables, ("a", "item"), torch.device("cpu"))
        batches.streamed = streamed
        for _ in range(2):
            batch = batches.pick(rows)
            assert batch["a"].dtype == torch.float32 and batch["item"].dtype == torch.int64
            assert torch.equal(batch["a"], tables["a"][rows].float()) and batch["item"].tolist() == [4, 1, 8]
            batches.into({name: torch.zeros_like(each) for name, each in batch.items()})


class Event:
    """Of a stream that there is not."""

    def synchronize(self) -> None: ...

    def record(self) -> None: ...


def test_streamed_batches_are_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    draw = np.random.default_rng(0)
    tables = {
        name: torch.from_numpy(draw.standard_normal((50, width)).astype(np.float32))
        for name, width in (("a", 3), ("b", 5))
    }
    batches = Batches(tables, ("a", "b"), torch.device("cpu"))
    resident = Batches(tables, ("a", "b"), torch.device("cpu"))
    batches.streamed = True
    order = batches.order(torch.Generator().manual_seed(1))
    assert torch.equal(order, resident.order(torch.Generator().manual_seed(1)))
    fixed: dict[str, Tensor] = {name: torch.zeros(8, table.shape[1]) for name, table in tables.items()}
    for number in range(6):
        if number == 3:
            batches.into(fixed)
        rows = order[number * 8 : (number + 1) * 8]
        found, wanted = batches.pick(rows), resident.pick(rows)
        assert number < 3 or found["a"] is fixed["a"]
        assert all(
            torch.equal(found[name], wanted[name]) and torch.equal(wanted[name], tables[name][rows]) for name in tables
        )


def test_a_streamed_batch_is_waited_for_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that another GPU records is over at once, and the rows in pinned memory would be replaced too early."""
    chosen, recorded = chosen_device(monkeypatch), list[int]()
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Event, "record", lambda _: recorded.append(chosen[0]))
    with fake_cuda():
        batches = Batches({"a": torch.empty(9, 2)}, ("a",), torch.device("cuda:1"))
        assert batches.pick(torch.arange(4))["a"].device == torch.device("cuda:1")
    assert recorded == [1] and chosen == [0]
