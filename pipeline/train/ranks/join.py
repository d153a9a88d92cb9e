"""How a process that torchrun started joins the others, and which of them speaks for all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from pipeline.errors import UserError
from pipeline.train.ranks.environment import one_of_several
from pipeline.train.ranks.together import ALONE, Ranks, acting_as

# Longest that a rank waits for another one: rank 0 may be writing a checkpoint, others reading their tables.
PATIENCE = timedelta(minutes=10)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Within it this process is one of the ranks that torchrun started; alone where it started none.

    Raises:
        RankLostError: The others do not come.
    """
    member = _from_environment()
    if member.alone:
        yield member
        return
    both = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(both, timeout=PATIENCE)
    with acting_as(member):
        yield member
    # Not after an error: the others may be gone, and the end of the process frees everything.
    dist.destroy_process_group()


def _from_environment() -> Ranks:
    if not one_of_several():
        return ALONE
    return Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))


def device_of_rank(device: str, member: Ranks) -> str:
    """The device that this rank has for itself, of the kind of `device`, such as ``cuda:1``.

    Raises:
        UserError: There are more ranks than GPUs.
    """
    if member.alone or device == "cpu":
        return device
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise UserError(
            f"{member.here} ranks were started on a machine with {there} GPUs.",
            "Start one for each GPU (`run.ranks`, or --nproc-per-node of torchrun), or set run.device to cpu.",
        )
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def first_to_say(key: str = "error") -> bool:
    """Whether this rank, one of several, is the first that has something to say: what ends one ends all, and is said once."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=2))  # type: ignore[attr-defined]
        return bool(store.add(f"mcr {key} {attempt}", 1) == 1)
    except RuntimeError:  # the process that kept it is gone
        return True
