"""The memory that processes leave decoded samples in: places, waiting, and what happens where there is none."""

import errno
import os
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.decode.isolated import POSSIBLE
from pipeline.encode.slots import Layout, Slots

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
SAMPLE = np.arange(6, dtype=np.int16).reshape(2, 3)


def laid_out(count: int, device: str = "cpu") -> Slots:
    slots = Slots(lambda _: count, device)
    run = slots.with_first(SAMPLE)
    assert run is not None and (run.rows().numpy() == SAMPLE).all()
    run.release()
    return slots


def test_another_process_writes_into_its_slot_only():
    with closing(laid_out(4)) as slots:
        run = slots.take(3)
        pid = os.fork()
        if not pid:
            try:
                slots.write(run.start + 1, Layout.of(SAMPLE), SAMPLE + 100)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert [row.max().item() for row in run.rows()] == [0, 105, 0]


def test_who_takes_more_than_is_free_waits():
    with closing(laid_out(4)) as slots:
        first, second = slots.take(3), slots.take(1)
        taken = []
        thread = threading.Thread(target=lambda: taken.append(slots.take(2)))
        thread.start()
        second.release()  # not the oldest one: its slot comes later in the ring
        time.sleep(0.3)
        assert not taken
        first.release()
        thread.join(10)
        assert (taken[0].start, taken[0].stop) == (5, 7)


def test_nobody_waits_for_slots_that_are_given_up():
    with closing(laid_out(2)) as slots:
        slots.take(2)
        taken = []
        thread = threading.Thread(target=lambda: taken.append(slots.take(1)))
        thread.start()
        slots.give_up()
        thread.join(10)
        assert taken == [None]


def test_a_run_that_comes_round_is_copied():
    with closing(laid_out(4)) as slots:
        slots.take(2).release()
        run = slots.take(3)  # the last one and the first two
        for number in range(3):
            slots.write(run.start + number, Layout.of(SAMPLE), SAMPLE * 0 + number)
        assert not run.side_by_side and run.rows()[:, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("sample", [SAMPLE.astype(np.int32), SAMPLE.T, SAMPLE[:1], SAMPLE.astype(">i2")])
def test_another_kind_of_sample_is_not_written(sample):
    with closing(laid_out(2)) as slots:
        assert not slots.write(0, Layout.of(SAMPLE), sample)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EFBIG, errno.ENOMEM])
def test_without_memory_there_are_no_slots_and_no_error(monkeypatch, error):
    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    with closing(laid_out(2)) as slots:
        monkeypatch.setattr(os, "pwrite", refuse)
        assert not slots.write(0, Layout.of(SAMPLE), SAMPLE)
    with closing(Slots(lambda _: 2)) as slots:
        monkeypatch.setattr(os, "ftruncate", refuse)
        assert slots.with_first(SAMPLE) is None and not slots.undecided and slots.take(1) is None


@pytest.mark.parametrize(("answer", "pinned"), [(0, True), (1, False)])
def test_a_gpu_copies_from_there_by_itself_if_its_driver_agrees(monkeypatch, answer, pinned):
    calls = []
    driver = SimpleNamespace(
        cudaHostRegister=lambda *arguments: calls.append(arguments) or answer,
        cudaHostUnregister=lambda *arguments: calls.append(arguments),
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: driver)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with closing(laid_out(4, "cuda:0")) as slots:
        address = slots.rows(0, 1).data_ptr()
    assert calls[0] == (address, 4 * SAMPLE.nbytes, 0)
    assert calls[1:] == [(address,)] * pinned
