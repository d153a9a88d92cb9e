"""The `train` stage for methods with a base (Ex-MCR): leaves are trained one by one into folders of their own, then united."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.connect.config import CONFIG_NAME, PROJECTOR_NAME, ConnectionConfig, LinkRecord, load_config
from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.hashing import sha256_file, sha256_json
from pipeline.progress import Progress, Silent
from pipeline.store import PAIRS, Store
from pipeline.store.folder import differences
from pipeline.store.prune import keep_only
from pipeline.train.fit import CODE_VERSION, Job, TrainResult, fit
from pipeline.train.layout import Layout
from pipeline.train.methods import build_objective
from pipeline.train.settings import LeafCouplingTrainSettings, LeafTrainSettings


@dataclass(frozen=True)
class LeafPlan:
    """What a leaf is trained on and how.

    Attributes:
        pairs: Folders of its sets of pseudo-pairs, which are taken together.
        settings: Objective and schedule.
    """

    pairs: Sequence[Path]
    settings: LeafTrainSettings | LeafCouplingTrainSettings


def train_leaves(
    leaves: Mapping[str, LeafPlan],
    output: Path,
    connection: str,
    method: str,
    base: str,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, TrainResult]:
    """Train the projector of every leaf that has none yet, and unite them over the base.

    No leaf depends on another one: adding one leaves the files of the others as they are. Equal inputs, seed and
    number of threads give equal bytes on the same kind of device, also after a kill.

    Args:
        leaves: By space, in the connection's order.
        output: Folder for ``<leaf>/`` (weights, history, configuration) and, last, ``config.json``.
        connection: Name of the connection; part of every seed.
        method: A key of `METHODS`.
        base: The space that all of them are projected into.
        seed: Seed of initial weights, order and noise.
        threads: CPU threads, which the order of additions depends on.
        device: Where to train, such as ``cpu`` or ``cuda:0``.
        progress: Receives the steps.

    Returns:
        What was done, by leaf.

    Raises:
        UserError: Pairs missing, made for another method or link, or fewer than one batch; or the leaves were made
            from different bases.
        McrError: The loss is not a finite number.
    """
    results: dict[str, TrainResult] = {}
    for leaf, plan in leaves.items():
        stores = tuple(Store.open(folder, PAIRS) for folder in plan.pairs)
        layout = Layout.of_all(stores, (base, leaf))
        objective = build_objective(method, layout, plan.settings)
        pairs = sha256_json([store.content_hash for store in stores])
        config = _leaf_config(layout, plan.settings, f"{connection}/{leaf}", pairs, seed, threads)
        job = Job(config, objective, plan.settings, plan.settings.projector.init, stores, (output / CONFIG_NAME,))
        results[leaf] = fit(job, output / leaf, device, progress or Silent())
    united = unite({leaf: load_config(output / leaf) for leaf in leaves}, connection, output)
    keep_only(output, [output, *(output / leaf for leaf in leaves)])
    for path in output.iterdir():
        if path.is_file() and path.name != CONFIG_NAME:
            path.unlink()  # Of another method that had the connection's name.
    united.save(output)
    return results


def unite(leaves: Mapping[str, ConnectionConfig], connection: str, folder: Path) -> ConnectionConfig:
    """One configuration for `leaves`, whose weights lie below `folder`.

    Raises:
        UserError: The leaves were made from different bases.
    """
    first = next(iter(leaves.values()))
    base = first.base
    spaces = {base: first.spaces[base]}
    for leaf, config in leaves.items():
        reasons = differences(first.spaces[base].model_dump(mode="json"), config.spaces[base].model_dump(mode="json"))
        if reasons:
            raise UserError(
                f"The leaves of {connection} were made from different bases: {'; '.join(reasons)}.",
                "Run `dvc repro`, so that all of them come from one checkpoint.",
            )
        spaces[leaf] = config.spaces[leaf]
    records = {
        leaf: LinkRecord(overlap=config.overlap, memories=config.memories, train=config.train, pairs=config.pairs)
        for leaf, config in leaves.items()
    }
    names = [f"{leaf}/{PROJECTOR_NAME}" for leaf in leaves]
    return ConnectionConfig(
        code=CODE_VERSION,
        connection=connection,
        method=first.method,
        spaces=spaces,
        base=base,
        overlap="",
        memories={},
        projectors={leaf: config.projectors[leaf] for leaf, config in leaves.items()},
        train={},
        pairs=sha256_json([config.pairs for config in leaves.values()]),
        seed=first.seed,
        threads=first.threads,
        files={name: sha256_file(folder / name) for name in names},
        leaves=records,
    )


def _leaf_config(
    layout: Layout,
    settings: LeafTrainSettings | LeafCouplingTrainSettings,
    name: str,
    pairs: str,
    seed: int,
    threads: int,
) -> ConnectionConfig:
    base, leaf = layout.spaces
    head = settings.projector
    projector = ProjectorSpec(
        kind=head.kind, input=layout.dimension(leaf), hidden=head.hidden, dimension=layout.dimension(base)
    )
    return ConnectionConfig.model_validate(
        {
            "code": CODE_VERSION,
            "connection": name,
            "method": layout.method,
            "spaces": layout.spaces,
            "base": base,
            "overlap": layout.overlap,
            "memories": {space: layout.memories[space] for space in layout.spaces},
            "projectors": {leaf: projector},
            # How often a checkpoint is written changes no number: with another value the result stays valid.
            "train": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
            "pairs": pairs,
            "seed": seed,
            "threads": threads,
        }
    )
