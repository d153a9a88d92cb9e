"""The `train` stage: the links of a connection are trained one by one into folders of their own, then united."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.connect.config import CONFIG_NAME, ConnectionConfig, TrainedLink, load_config, unite
from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.links import Link
from pipeline.methods import code, method_called
from pipeline.progress import Progress, Silent
from pipeline.store import PAIRS, Store
from pipeline.store.folder import differences
from pipeline.store.prune import keep_only
from pipeline.train.fit import CODE_VERSION, Job, TrainResult, fit
from pipeline.train.objective import Objective
from pipeline.train.settings import ScheduleSettings
from pipeline.train.tables import joined_spaces


def train_connection(
    links: Sequence[tuple[Link, ScheduleSettings]],
    method: str,
    pairs: Path,
    output: Path,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, TrainResult]:
    """Train the projectors of every link, or continue, or find that nothing is to do; then unite them.

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

    Returns:
        What was done, by folder of the link.

    Raises:
        UserError: Pairs missing, made for another method or link, or fewer than one batch; or the links were made
            from different bases.
        McrError: The loss is not a finite number.
    """
    results: dict[str, TrainResult] = {}
    for link, settings in links:
        stores = tuple(Store.open(pairs / link.place / name, PAIRS) for name in link.sets)
        spaces = joined_spaces(stores, link, method)
        objective = build_objective(method, link, spaces, settings)
        hashes = [store.content_hash for store in stores]
        config = _config(link, method, spaces, settings, hashes, seed, threads)
        job = Job(config, objective, settings, settings.projector.init, stores, (output / CONFIG_NAME,))
        results[link.place] = fit(job, output / link.name, device, progress or Silent())
    configs = {link.name: load_config(output / link.name) for link, _ in links}
    _check_bases(configs)
    keep_only(output, [output, *(output / name for name in configs)])
    for path in output.iterdir():
        if path.is_file() and path.name != CONFIG_NAME:
            path.unlink()  # Of an earlier version, which kept the files of a single link here.
    unite(configs).save(output)
    return results


def build_objective(
    method: str, link: Link, spaces: Mapping[str, Mapping[str, Any]], settings: ScheduleSettings
) -> Objective:
    """The objective of `method` for `link`.

    Raises:
        UserError: There is no such method, or the link lacks what it needs.
    """
    record = method_called(method)
    if record.needs_overlap and not link.overlap:
        raise UserError(f"{record.label} joins two spaces over a modality that both embed.", "Set `overlap`.")
    widths = {space: int(facts["dimension"]) for space, facts in spaces.items()}
    made: Objective = code(record.objective, "pipeline.train")(link, widths, settings)
    return made


def _check_bases(configs: Mapping[str, ConnectionConfig]) -> None:
    first = next(iter(configs.values()))
    for config in configs.values():
        if not config.base:
            continue
        base, other = (each.spaces[each.base].model_dump(mode="json") for each in (first, config))
        if reasons := differences(base, other):
            raise UserError(
                f"The leaves of {first.connection} were made from different bases: {'; '.join(reasons)}.",
                "Run `dvc repro`, so that all of them come from one checkpoint.",
            )


def _config(
    link: Link,
    method: str,
    spaces: Mapping[str, Mapping[str, Any]],
    settings: ScheduleSettings,
    pairs: Sequence[str],
    seed: int,
    threads: int,
) -> ConnectionConfig:
    head = settings.projector
    outputs = head.outputs(int(spaces[link.base]["dimension"]) if link.base else 0)
    projectors = {
        space: ProjectorSpec(
            kind=head.kind, input=spaces[space]["dimension"], hidden=head.hidden, dimension=outputs
        ).model_dump()
        for space in link.projected
    }
    # How often a checkpoint is written changes no number: with another value the result stays valid.
    train = settings.model_dump(mode="json", exclude={"checkpoint_every"})
    trained = TrainedLink(**link.model_dump(), train=train, pairs=sha256_json(pairs))
    return ConnectionConfig.model_validate(
        {
            "code": CODE_VERSION,
            "connection": link.connection,
            "method": method,
            "spaces": spaces,
            "links": [trained.model_dump()],
            "projectors": projectors,
            "seed": seed,
            "threads": threads,
        }
    )
