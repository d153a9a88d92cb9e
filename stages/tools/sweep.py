"""`mcr sweep`: what each ingredient of a connection adds, on the pseudo-pairs that are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import UserError
from stages.options import BreakLock, ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.params.model import Params
    from pipeline.sweep.settings import Sweep


def sweep(
    file: Annotated[
        Path, typer.Argument(help="File of the changes, such as presets/sweeps/ablation.yaml.", show_default=False)
    ],
    params_file: ParamsFile = Path("params.yaml"),
    break_lock: BreakLock = False,
) -> None:
    """Train connections again with single settings changed, and compare them in one table.

    Stores and pseudo-pairs are reused: only training and evaluation run. Finished trainings of a killed sweep are
    kept.

    Example: mcr sweep presets/sweeps/ablation.yaml
    """
    import pandas as pd

    from pipeline.connect.config import load_config
    from pipeline.files.atomic import atomic_path, write_text
    from pipeline.store.lock import locked
    from pipeline.sweep.page import shown, sweep_page
    from pipeline.sweep.summary import summarise, with_differences
    from pipeline.sweep.variants import UNCHANGED, read_sweep
    from stages.context import SWEEPS, break_locks, device_of, set_up_torch

    chosen = read_sweep(file)
    params, names = _with_variants(params_file, chosen)
    set_up_torch(params)
    device = device_of(params)
    folder = SWEEPS / file.stem
    break_locks(break_lock, folder)
    with locked(folder):
        _train_all(params, chosen, names, folder, device)
        measured = _measured(params, chosen, names, folder, device)
    values = with_differences(pd.concat(measured, ignore_index=True))
    # Of which pseudo-pairs the rows speak: the report says if they are not those of today.
    pairs = {
        name: load_config(folder / "models" / f"{rows[UNCHANGED]}, seed {chosen.seeds[0]}").pairs
        for name, rows in names.items()
    }
    summary = summarise(values).assign(pairs=lambda table: table.connection.map(pairs))
    # The report depends on the folder of the summaries.
    for path, table in ((folder / "values.parquet", values), (SWEEPS / "tables" / f"{file.stem}.parquet", summary)):
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False, write_page_checksum=True)
    write_text(folder / "index.html", sweep_page(f"What each ingredient adds: {file.stem}", values, summary))
    for _, line in summary.iterrows():
        changed = "" if line.row == UNCHANGED else f"  {shown(line.difference, line.difference_deviation, '+')}"
        say(
            f"{line.connection}, {line.row}: {line.metric} {shown(line['mean'], line.deviation)}{changed}  {line.verdict}"
        )
    say(f"sweep: {len(values)} trained and measured; {folder / 'index.html'}, {folder / 'values.parquet'}")


def _with_variants(params_file: Path, sweep: "Sweep") -> "tuple[Params, dict[str, dict[str, str]]]":
    """Parameters with a connection for each row; by connection and row the name of that one."""
    from pipeline.params.load import check_params, read_raw
    from pipeline.sweep.measurable import check_measurable
    from pipeline.sweep.variants import variants
    from stages.options import pick

    raw: dict[str, Any] = dict(read_raw(params_file))
    known = check_params(raw, str(params_file))
    names: dict[str, dict[str, str]] = {}
    added: dict[str, Any] = {}
    for name, ablation in sweep.connections.items():
        pick(known.connections, [name], "connection")
        pick(known.evaluate.tasks, [ablation.task], "task")
        check_measurable(ablation, known.evaluate)
        for row, settings in variants(raw["connections"][name], ablation.rows).items():
            names.setdefault(name, {})[row] = variant = f"{name}, {row}"
            added[variant] = settings
    return check_params({**raw, "connections": {**raw["connections"], **added}}, "the sweep", named=False), names


def _train_all(params: "Params", sweep: "Sweep", names: dict[str, dict[str, str]], folder: Path, device: str) -> None:
    from pipeline.sweep.trainings import Training, train_each
    from stages.context import PAIRS, ConsoleProgress
    from stages.engines import executing

    trainings = []
    for name, rows in names.items():
        if not (PAIRS / name).is_dir():
            raise UserError(f"There are no pseudo-pairs of {name}.", f"Run `dvc repro`, or `mcr retrieve {name}`.")
        for variant in rows.values():
            # Pairs and seeds are those of the connection itself, whatever the variant changes.
            connection = params.connections[variant]
            links = [(link, connection.train_of(link.spaces)) for link in connection.links(name)]
            for seed in sweep.seeds:
                place = f"{variant}, seed {seed}"
                trainings.append(Training(place, links, connection.method, PAIRS, seed, params.threads, device))
    progress = ConsoleProgress()
    progress.start("sweep", len(trainings), "trainings")
    with executing(params, device) as execution:
        for _ in execution.engine.make(folder / "models", trainings, train_each, progress):
            progress.advance(1)


def _measured(
    params: "Params", sweep: "Sweep", names: dict[str, dict[str, str]], folder: Path, device: str
) -> "list[pd.DataFrame]":
    """By connection: the metric of every row and seed."""
    from pipeline.evaluate.folders import Folders
    from pipeline.sweep.measure import measure
    from stages.context import ANNOTATIONS, EMBEDDINGS, PAIRS, ConsoleProgress

    found = []
    for name, rows in names.items():
        # By name of the trained model: the row and the seed that it stands for.
        trained = {f"{variant}, seed {seed}": (row, seed) for row, variant in rows.items() for seed in sweep.seeds}
        folders = Folders(EMBEDDINGS, folder / "models", PAIRS, folder / "metrics" / name, ANNOTATIONS)
        connection = params.connections[name]
        values = measure(
            sweep.connections[name],
            trained,
            connection.links(name),
            connection.method,
            params.evaluate,
            folders,
            params.seed,
            ConsoleProgress(),
            device,
        )
        found.append(values.assign(connection=name))
    return found
