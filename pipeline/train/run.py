"""The `train` stage: the links of a connection are trained one by one into folders of their own and then united, or together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.connect.config import CONFIG_NAME, PROJECTOR_NAME, ConnectionConfig, load_config, unite
from pipeline.errors import UserError
from pipeline.links import Link
from pipeline.methods import implementation, method_called
from pipeline.progress import Progress, Silent
from pipeline.settings import Settings
from pipeline.store import PAIRS, Store
from pipeline.store.integrity.agreement import space_differences
from pipeline.store.parts.prune import keep_only
from pipeline.train.fit import TrainResult
from pipeline.train.history import HISTORY_NAME
from pipeline.train.link import LinkJob
from pipeline.train.ranks.together import ranks


def train_connection(
    links: Sequence[tuple[Link, Settings]],
    method: str,
    pairs: Path,
    output: Path,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
    specs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, TrainResult]:
    """Train the projectors of every link, or continue, or find that nothing is to do; then unite them.

    As one of several `ranks()`, together with the others: the first of them does what is not divided, and alone writes.

    No link depends on another one: adding one leaves the files of the others as they are. Equal inputs, seed and
    number of threads give equal bytes on the same kind of device, also after a kill.

    Args:
        links: The links of the connection in its order, each with objective and schedule.
        method: Name of the method.
        pairs: Folder of the pairs of all connections.
        output: Folder for ``<link>/`` (weights, history, configuration) and, last, ``config.json``.
        seed: Seed of initial weights, order and noise.
        threads: CPU threads, which the order of additions depends on.
        device: Where to train, such as ``cpu`` or ``cuda:0``.
        progress: Receives the steps.
        specs: By space: the fields of its `SpaceSpec`; only a method that reads no embeddings needs them.

    Returns:
        What was done, by folder of the link; by that of the connection where all links are trained together.

    Raises:
        UserError: Pairs missing, made for another method or link, or fewer than one batch; or the links were made
            from different bases; or the loss is not a finite number.
    """
    results: dict[str, TrainResult] = {}
    record, replaces = method_called(method), (output / CONFIG_NAME,)
    writes = ranks().writes
    if not record.objective and not writes:
        return {}
    connect = implementation(record.trainer, "pipeline.train")
    jobs = []
    for link, settings in links:
        stores = tuple(Store.open(pairs / link.place / name, PAIRS) for name in link.sets)
        made, told = output if record.joint else output / link.name, progress or Silent()
        jobs.append(LinkJob(link, record, settings, stores, made, replaces, seed, threads, device, told, specs or {}))
    if record.joint:
        results[links[0][0].connection] = connect(jobs)
        if writes:
            keep_only(output, [output])
        return results
    for job in jobs:
        results[job.link.place] = connect(job)
    if not writes:
        return results
    configs = {link.name: load_config(output / link.name) for link, _ in links}
    _check_bases(configs)
    keep_only(output, [output, *(output / name for name in configs)])
    for name in (PROJECTOR_NAME, HISTORY_NAME):
        (output / name).unlink(missing_ok=True)  # Of an earlier version, which kept the files of a single link here.
    unite(configs).save(output)
    return results


def _check_bases(configs: Mapping[str, ConnectionConfig]) -> None:
    first = next(iter(configs.values()))
    for config in configs.values():
        if not config.base:
            continue
        base, other = (each.spaces[each.base].model_dump(mode="json") for each in (first, config))
        if reasons := space_differences(base, other):
            raise UserError(
                f"The leaves of {first.connection} were made from different bases: {'; '.join(reasons)}.",
                "Run `dvc repro`, so that all of them come from one checkpoint.",
            )
