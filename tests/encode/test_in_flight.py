"""Forward passes that are not waited for: what a GPU is asked, and in which order, and the same numbers as ever."""

from contextlib import contextmanager

import pytest
import torch

from pipeline.encode import in_flight
from pipeline.encode.fitting import FittingEncoder
from pipeline.modalities import IMAGE, TEXT
from pipeline.spaces.protocol import unit_rows
from pipeline.testing.fake_cuda import fake_cuda


class Stream:
    """Writes down what is asked of it."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def wait_stream(self, other: "Stream") -> None:
        self.asked.append(f"{self.name} waits for {other.name}")


class Doubling:
    """A space on a GPU that is not there."""

    device = "cuda"

    def __init__(self) -> None:
        self.given: list[torch.device] = []

    def encode(self, modality: str, batch: torch.Tensor) -> torch.Tensor:
        self.given.append(batch.device)
        return unit_rows(batch.to(self.device).float() * 2)


@pytest.fixture
def asked(monkeypatch):
    """What was asked of streams, which torch has only where there is a GPU."""
    asked: list[str] = []
    copies, computes = Stream("copies", asked), Stream("computes", asked)

    @contextmanager
    def within(stream):
        asked.append(f"begin {stream.name}")
        yield
        asked.append(f"end {stream.name}")

    class Event:
        def record(self, stream):
            asked.append(f"event on {stream.name}")

        def synchronize(self):
            asked.append("wait for event")

    in_flight._stream.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copies)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computes)
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: asked.append(f"kept for {stream.name}"))
    yield asked
    in_flight._stream.cache_clear()


def test_a_batch_is_copied_beside_the_pass_before_and_its_rows_are_fetched_later(asked):
    space = Doubling()
    with fake_cuda():
        rows = FittingEncoder(space, IMAGE).begin(torch.ones(4, 3, dtype=torch.uint8))
        assert asked == [
            "begin copies",
            "end copies",
            "computes waits for copies",
            "kept for computes",
            "event on computes",
        ]
        found = rows()
    assert asked[-1] == "wait for event"
    assert space.given == [torch.device("cuda:0")] and found.shape == (4, 3) and found.device.type == "cpu"


def test_a_text_stays_where_asking_for_its_length_waits_for_nothing(asked):
    space = Doubling()
    with fake_cuda():
        FittingEncoder(space, TEXT).begin(torch.ones(4, 3, dtype=torch.int64))()
    assert space.given == [torch.device("cpu")] and asked == ["event on computes", "wait for event"]


def test_an_encoder_of_somebody_else_may_return_rows_on_the_cpu(asked):
    space = Doubling()
    space.encode = lambda modality, batch: torch.eye(4)
    with fake_cuda():
        rows = FittingEncoder(space, IMAGE).begin(torch.ones(4, 3))
        assert "event on computes" not in asked and rows().device.type == "cpu"


def test_rows_are_on_the_cpu_for_everybody_else():
    assert unit_rows(torch.full((2, 4), 3.0)).tolist() == [[0.5] * 4] * 2
