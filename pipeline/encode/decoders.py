"""From the files of a shard to tensors: in threads of this process, or in processes that a file cannot take down with it."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.decode.images import has_transparency
from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.encode.slots import Layout, Run, Runs, Slots
from pipeline.errors import SampleError
from pipeline.modalities import IMAGE, TEXT
from pipeline.spaces import Space
from pipeline.store.shards import Extent, read_extents

THREADS, PROCESSES, AUTO = "threads", "processes", "auto"
LIMITS = Limits()


@dataclass(frozen=True)
class Files:
    """Neighbouring files of one shard.

    Attributes:
        path: Of the shard.
        keys: Of their samples.
        extents: [N, 2], where they begin in it and how long they are, in bytes.
        run: Slots for their samples; None: there is no such memory.
    """

    path: Path
    keys: list[str]
    extents: NDArray[np.int64]
    run: Run | None


@dataclass(frozen=True)
class Decoded:
    """What became of some files.

    Attributes:
        samples: Those that could be used, in their order: in slots where these had some, in as many runs as others leave.
        rejected: Numbers of the others among the files, and what is wrong with them.
        transparent: How many are pictures with transparency.
    """

    samples: Runs | list[Tensor]
    rejected: dict[int, SampleError]
    transparent: int


Decoder = Callable[[Files], Decoded]


def decoded_apart(modality: str, where: str, device: str) -> bool:
    """Whether files of `modality` are decoded in processes.

    Args:
        modality: Of the files.
        where: ``threads``; ``processes``, which also survive a crash and a hang; ``auto``: processes where they can be
            forked, but threads for a text whose model runs on a CPU.
        device: Where samples go.
    """
    # No foreign decoder reads a text, and a CPU takes longer to embed it than one core to cut it into tokens. A GPU does not,
    # and threads that all wait for Python's lock make fewer tokens than one.
    in_threads = not POSSIBLE or (modality == TEXT and torch.device(device).type == "cpu")
    return not (where == THREADS or (where == AUTO and in_threads))


def host_decoder(
    space: Space,
    modality: str,
    workers: int,
    apart: bool,
    slots: Callable[[int], int] | None,
    device: str,
    stack: ExitStack,
) -> tuple[Decoder, Slots | None]:
    """What decodes files of `modality` for `space`, to be called by `workers` threads at a time.

    Args:
        space: Whose `preprocess` is called.
        modality: Of the files.
        workers: How many files are decoded at the same time.
        apart: Whether that happens in processes, see `decoded_apart`.
        slots: How many samples have room in the memory that processes write to, by the bytes of one; None: there is none.
        device: Where samples go.
        stack: Ends the processes when it is left.

    Returns:
        The decoder, and the slots of the processes if there are any.
    """
    if not apart:
        return partial(_here, space, modality), None
    memory = None
    if slots:
        with suppress(OSError, AttributeError):
            memory = Slots(slots, device)
            stack.callback(memory.close)
    # A forked process must not use the threads of PyTorch's arithmetic, which were not forked.
    isolated: Isolated[_Job, _Answer] = stack.enter_context(
        Isolated(partial(_decode, space, modality, memory), workers, LIMITS, lambda: torch.set_num_threads(1))
    )
    isolated.start()
    return partial(_elsewhere, isolated, memory), memory


def _here(space: Space, modality: str, files: Files) -> Decoded:
    samples: list[Tensor] = []
    rejected: dict[int, SampleError] = {}
    transparent = 0
    for number, payload in enumerate(read_extents(files.path, [Extent(*each) for each in files.extents.tolist()])):
        try:
            samples.append(space.preprocess(modality, payload))
            transparent += modality == IMAGE and has_transparency(payload)
        except SampleError as error:
            rejected[number] = error
        except MemoryError:
            rejected[number] = SampleError("decode", "the decoder asks for more memory than there is")
    return Decoded(samples, rejected, transparent)


# A shard, where a file in it begins and how long it is, and the place and layout of the slot for its sample.
_Job = tuple[str, int, int, int, Layout | None]
# Whether it is a picture with transparency; before that the sample, unless it lies in its slot.
_Answer = bool | tuple[NDArray[np.generic], bool]


def _decode(space: Space, modality: str, slots: Slots | None, job: _Job) -> _Answer:
    """What a process does for one file."""
    path, start, size, place, layout = job
    [payload] = read_extents(Path(path), [Extent(start, size)])
    sample = space.preprocess(modality, payload).numpy()
    transparent = modality == IMAGE and has_transparency(payload)
    there = slots and layout and slots.write(place, layout, sample)
    return transparent if there else (sample, transparent)


def _elsewhere(isolated: "Isolated[_Job, _Answer]", slots: Slots | None, files: Files) -> Decoded:
    run, path = files.run, str(files.path)
    layout, first = (run.slots.layout, run.start) if run else (None, 0)
    jobs = [(path, start, size, place, layout) for place, (start, size) in enumerate(files.extents.tolist(), first)]
    rejected, good = dict[int, SampleError](), dict[int, _Answer]()
    for number, each in enumerate(isolated(jobs)):
        if isinstance(each, SampleError):
            rejected[number] = each
        else:
            good[number] = each
    transparent = sum(each if isinstance(each, bool) else each[1] for each in good.values())
    if run and all(isinstance(each, bool) for each in good.values()):
        return Decoded(run.without(rejected), rejected, transparent)
    samples = [_alone(each, run, number) for number, each in good.items()]
    if run:
        run.release()
    elif slots and len(samples) == len(jobs) == 1 and (run := slots.with_first(samples[0].numpy())):
        return Decoded((run,), {}, transparent)
    return Decoded(samples, rejected, transparent)


def _alone(answer: _Answer, run: Run | None, number: int) -> Tensor:
    """A sample in memory of its own, wherever it lies."""
    if not isinstance(answer, bool):
        return torch.from_numpy(answer[0])
    assert run is not None  # or it would have come back
    return run.row(number).clone()
