"""`mcr retrieve`: embedding stores become the pairs of a connection."""

from contextlib import nullcontext
from pathlib import Path

from stages.engines import Slice
from stages.options import BreakLock, Names, ParamsFile


def retrieve(
    names: Names,
    params_file: ParamsFile = Path("params.yaml"),
    break_lock: BreakLock = False,
    slice_: Slice = "",
) -> None:
    """Make the pairs that connections learn from, by default over the whole memory.

    Example: mcr retrieve audio_image
    """
    from pipeline.params.load import load_params
    from pipeline.retrieve.pair_set import PairSet
    from pipeline.retrieve.pseudo_pairs import write_pairs
    from pipeline.store.parts.prune import keep_only
    from pipeline.store.parts.run import Execution
    from stages.context import EMBEDDINGS, PAIRS, ConsoleProgress, account, break_locks, device_of, set_up_torch
    from stages.engines import executing, share_of
    from stages.options import pick

    params = load_params(params_file)
    connections = pick(params.connections, names, "connection")
    set_up_torch(params)
    device = device_of(params)
    # A memory is divided by one process, which sees all GPUs; queries by one for each of them.
    divided = nullcontext(Execution(share=share_of(slice_))) if params.run.divide == "memory" else None
    with divided or executing(params, device, slice_) as execution:
        for name, connection in connections:
            break_locks(break_lock, PAIRS / name, execution.share)
            sets = [
                PairSet(link, connection.method, connection.retrieve_of(link.spaces), params.seed, EMBEDDINGS, each)
                for link in connection.links(name)
                for each in link.sets
            ]
            for wanted in sets:
                folder, most = PAIRS / wanted.place, params.limits.max_rejected
                address, progress = params.storage.of("pairs", wanted.place), ConsoleProgress()
                pairs = write_pairs(wanted, folder, device, params.threads, most, progress, execution, address)
                account("retrieve", wanted.place, pairs.manifest, pairs.computed)
            (PAIRS / name).mkdir(parents=True, exist_ok=True)  # DVC expects it, also of a method that pairs nothing.
            if not execution.share.partial:
                keep_only(PAIRS / name, [PAIRS / wanted.place for wanted in sets])
