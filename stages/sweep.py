"""`mcr sweep`: what each ingredient of a connection adds, on the pseudo-pairs that are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.params.model import Params
    from pipeline.sweep.settings import Sweep


def sweep(
    file: Annotated[
        Path, typer.Argument(help="What is changed, such as presets/sweeps/ablation.yaml.", show_default=False)
    ],
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Train connections again with single settings changed, and compare them in one table.

    Stores and pseudo-pairs stay as they are: only training and evaluation run. What a killed sweep had trained is kept.

    Example: mcr sweep presets/sweeps/ablation.yaml
    """
    import pandas as pd

    from pipeline.atomic import atomic_path, write_text
    from pipeline.connect.config import load_config
    from pipeline.sweep.page import shown, sweep_page
    from pipeline.sweep.summary import summarise, with_differences
    from pipeline.sweep.variants import UNCHANGED, read_sweep
    from stages.context import SWEEPS, prepare_torch

    chosen = read_sweep(file)
    params, names = _with_variants(params_file, chosen)
    device = prepare_torch(params)
    folder = SWEEPS / file.stem
    _train_all(params, chosen, names, folder, device)
    values = with_differences(pd.concat(_measured(params, chosen, names, folder, device), ignore_index=True))
    # Of which pseudo-pairs the rows speak: the report says if they are not those of today.
    pairs = {
        name: load_config(folder / "models" / f"{rows[UNCHANGED]}, seed {chosen.seeds[0]}").pairs
        for name, rows in names.items()
    }
    summary = summarise(values).assign(pairs=lambda table: table.connection.map(pairs))
    # The report depends on the folder of the summaries.
    for path, table in ((folder / "values.parquet", values), (SWEEPS / "tables" / f"{file.stem}.parquet", summary)):
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False)
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
    from pipeline.sweep.variants import variants
    from stages.options import pick

    raw: dict[str, Any] = dict(read_raw(params_file))
    known = check_params(raw, str(params_file))
    names: dict[str, dict[str, str]] = {}
    added: dict[str, Any] = {}
    for name, ablation in sweep.connections.items():
        pick(known.connections, [name], "connection")
        pick(known.evaluate.tasks, [ablation.task], "task")
        for row, settings in variants(raw["connections"][name], ablation.rows).items():
            names.setdefault(name, {})[row] = variant = f"{name}, {row}"
            added[variant] = settings
    return check_params({**raw, "connections": {**raw["connections"], **added}}, "the sweep", named=False), names


def _train_all(params: "Params", sweep: "Sweep", names: dict[str, dict[str, str]], folder: Path, device: str) -> None:
    from pipeline.progress import Silent
    from stages.context import PAIRS, ConsoleProgress
    from stages.train import train_one

    progress = ConsoleProgress()
    progress.start("sweep", len(sweep.seeds) * sum(map(len, names.values())), "trainings")
    for name, rows in names.items():
        if not (PAIRS / name).is_dir():
            raise UserError(f"There are no pseudo-pairs of {name}.", f"Run `dvc repro`, or `mcr retrieve {name}`.")
        for variant in rows.values():
            for seed in sweep.seeds:
                model = folder / "models" / f"{variant}, seed {seed}"
                train_one(
                    name, params.connections[variant], PAIRS / name, model, seed, params.threads, device, Silent()
                )
                progress.advance(1)


def _measured(
    params: "Params", sweep: "Sweep", names: dict[str, dict[str, str]], folder: Path, device: str
) -> "list[pd.DataFrame]":
    """By connection: the metric of every row and seed."""
    import pandas as pd

    from pipeline.evaluate.run import evaluate
    from pipeline.evaluate.sources import Folders
    from stages.context import ANNOTATIONS, EMBEDDINGS, PAIRS, ConsoleProgress
    from stages.evaluate import connection_data

    found = []
    for name, rows in names.items():
        ablation = sweep.connections[name]
        trained = {
            f"{variant}, seed {seed}": (row, seed, connection_data(params.connections[variant]))
            for row, variant in rows.items()
            for seed in sweep.seeds
        }
        task = params.evaluate.tasks[ablation.task].model_copy(
            update={"connections": tuple(trained), "space": "", "baselines": ""}
        )
        settings = params.evaluate.model_copy(update={"tasks": {ablation.task: task}, "bootstrap": 0, "examples": 0})
        metrics = folder / "metrics" / name
        folders = Folders(EMBEDDINGS, folder / "models", PAIRS, metrics, ANNOTATIONS)
        evaluate(
            settings,
            folders,
            {each: data for each, (_, _, data) in trained.items()},
            params.seed,
            ConsoleProgress(),
            device,
        )
        table = pd.read_parquet(metrics / "metrics.parquet")
        own = table.method == params.connections[name].method  # Not the same with its hubs corrected.
        table = table[own & (table.metric == ablation.metric) & (table.direction == ablation.direction)]
        if table.empty:
            raise UserError(
                f"The task {ablation.task} has no {ablation.metric!r} in the direction {ablation.direction!r}.",
                "Choose from what `mcr metrics --direction all` shows.",
            )
        rows_of, seeds_of = ({each: found[at] for each, found in trained.items()} for at in (0, 1))
        found.append(
            pd.DataFrame(
                {
                    "connection": name,
                    "task": ablation.task,
                    "metric": ablation.metric,
                    "row": table.connection.map(rows_of),
                    "seed": table.connection.map(seeds_of),
                    "value": table.value,
                }
            )
        )
    return found
