"""From `run` in params.yaml to where parts are made."""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.printing import note

if TYPE_CHECKING:
    from pipeline.engines.pool import Crew
    from pipeline.engines.supervised import Limits
    from pipeline.params.model import Params
    from pipeline.store.parts.run import Execution
    from pipeline.store.parts.share import Share

VISIBLE = "CUDA_VISIBLE_DEVICES"

Slice = Annotated[
    str,
    typer.Option(
        "--slice",
        metavar="K/N",
        help="Make share K of N of the parts, beside N - 1 other processes; then run the command without it.",
        show_default=False,
    ),
]


@contextmanager
def executing(params: "Params", device: str, share: str = "") -> "Iterator[Execution]":
    """How the parts of a command are made, as `run` says; worker processes end with the block.

    Args:
        params: The parameters.
        device: What kind of device parts are made on, ``cpu`` or ``cuda``; empty where nothing is computed.
        share: As ``--slice`` gives it.

    Raises:
        UserError: There is no such device, no Ray, or no such share.
    """
    from pipeline.store.parts.run import ALONE, Execution

    part = share_of(share)
    crew = _crew(params, device)
    if crew is None:
        yield Execution(ALONE.engine, part)
    else:
        from pipeline.engines.pool import Pool

        with closing(Pool(crew)) as pool:
            yield Execution(pool, part)
    if part.partial:
        note(f"That was slice {part}. When all {part.count} are done, run the command without --slice.")


def share_of(text: str) -> "Share":
    """The share that ``--slice`` names; all of the work if it is empty.

    Raises:
        UserError: It is none.
    """
    from pipeline.store.parts.share import WHOLE, Share

    if not text:
        return WHOLE
    found = re.fullmatch("([0-9]+)/([0-9]+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(
            f"--slice {text} is not a share.", "Write K/N, with K from 1 to N: --slice 3/16 is the third of sixteen."
        )
    return Share(int(found[1]), int(found[2]))


def decoders_of(params: "Params", device: str) -> int:
    """How many samples each process decodes at the same time: `run.workers` is for all of them together."""
    if params.run.engine == "ray":
        return params.run.decoders
    return max(1, params.run.decoders // max(1, len(_places(params, device))))


def see_chosen_gpus(params: "Params") -> None:
    """Let this process see the GPUs that `run.devices` lists, and no others; call it before anything asks for a GPU.

    Raises:
        UserError: It lists one that there is not.
    """
    if not isinstance(params.run.devices, str):
        _see(params.run.devices)


@cache  # what is seen afterwards has other numbers
def _see(chosen: tuple[int, ...]) -> None:
    seen = _visible()
    if seen and max(chosen) >= len(seen):
        raise UserError(
            f"run.devices names GPU {max(chosen)}, but {VISIBLE} leaves {len(seen)}.",
            "Number the visible ones from 0.",
        )
    os.environ[VISIBLE] = ",".join(seen[number] if seen else str(number) for number in chosen)


def _visible() -> list[str]:
    """The GPUs that the environment leaves; empty where it leaves all."""
    return [name for name in os.environ.get(VISIBLE, "").split(",") if name]


def _crew(params: "Params", device: str) -> "Crew | None":
    """Worker processes; None where this process does the work itself."""
    places = _places(params, device) if params.run.engine == "local" else []
    if params.run.engine == "local" and not places:
        return None
    from stages.context import set_up_threads

    start = partial(set_up_threads, params.threads) if device else partial(bool)
    if params.run.engine == "local":
        from pipeline.engines.local import LocalCrew

        return LocalCrew(places, start, _limits(params, len(places)))
    from pipeline.engines.ray_cluster import RayCrew

    return RayCrew(params.run.address, device, params.run.processes, params.threads, start, _limits(params, 1))


def _places(params: "Params", device: str) -> list[dict[str, str]]:
    """The environment of each worker process on this machine; none if this process is to do the work itself."""
    wanted = params.run.processes
    if device != "cuda":
        return [{VISIBLE: ""}] * wanted if isinstance(wanted, int) else []
    import torch

    names = _visible() or [str(number) for number in range(torch.cuda.device_count())]
    if len(names) > torch.cuda.device_count():
        raise UserError(
            f"This machine has {torch.cuda.device_count()} of the GPUs {', '.join(names)}.",
            "Correct run.devices in params.yaml, or CUDA_VISIBLE_DEVICES.",
        )
    return [{VISIBLE: name} for name in names] if len(names) > 1 or isinstance(wanted, int) else []


def _limits(params: "Params", processes: int) -> "Limits":
    from pipeline.engines.supervised import Limits
    from pipeline.train.memory import free_bytes

    if params.run.memory != "auto":
        return Limits(params.run.time_limit, int(params.run.memory * 1e9))
    free = free_bytes("cpu") if params.run.engine == "local" else None
    return Limits(params.run.time_limit, int(0.9 * (free or 0) / processes))
