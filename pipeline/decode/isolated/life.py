"""The life of a child process: it is asked, it answers, until nobody asks any more."""

import faulthandler
import os
import pickle
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from pipeline.decode.isolated.answers import Answers
from pipeline.decode.isolated.limits import Limits
from pipeline.errors import SampleError

READY = "ready"
# Seconds after which either side looks whether the other is still there.
PATIENCE = 1.0


@dataclass(frozen=True)
class Raised:
    """An error of ours, to be raised in the parent."""

    error: Exception


def serve(
    function: Callable[[Any], Any],
    pipe: Connection,
    answers: Answers,
    parent: int,
    limits: Limits,
    at_start: Callable[[], object],
) -> None:
    """The life of a child: call, answer, until nobody asks any more."""
    _settle(limits)
    Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    at_start()
    pipe.send(READY)
    while True:
        try:
            arguments = pipe.recv()
        except (EOFError, ConnectionError):
            os._exit(0)
        for number, argument in enumerate(arguments):
            answers.begin()
            content, buffers = _answer(function, argument, limits)
            if not answers.put(number, content, buffers):
                pipe.send_bytes(_whole(number, content, buffers, limits))
        pipe.send_bytes(b"")  # all are there


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, whatever it is busy with: nobody is left who would stop it."""
    while os.getppid() == parent:
        time.sleep(PATIENCE)
    os._exit(0)


def _settle(limits: Limits) -> None:
    """Leave signals to the parent, keep quiet about crashes, and limit the memory."""
    import resource  # only Unix has it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits.hold_memory()


def _answer(function: Callable[[Any], Any], argument: Any, limits: Limits) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """The answer as a pickle, and its large buffers beside it."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        try:
            return pickle.dumps(function(argument), 5, buffer_callback=buffers.append), buffers
        except SampleError as error:
            return pickle.dumps(error), []
    except MemoryError:
        return pickle.dumps(limits.too_much_memory()), []
    except Exception as error:
        try:
            pickle.loads(content := pickle.dumps(Raised(error)))  # noqa: S301  # made one line above
            return content, []
        except Exception:  # some errors cannot be pickled, or not be put together again
            return pickle.dumps(Raised(RuntimeError(f"{type(error).__name__}: {error}"))), []


def _whole(number: int, content: bytes, buffers: list[pickle.PickleBuffer], limits: Limits) -> bytes:
    """An answer in one message."""
    try:
        return pickle.dumps((number, content, [bytearray(buffer.raw()) for buffer in buffers]))
    except MemoryError:
        return pickle.dumps((number, pickle.dumps(limits.too_much_memory()), []))
