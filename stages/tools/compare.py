"""`mcr compare`: which method on my data?"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError, choice
from stages.options import ParamsFile
from stages.printing import say
from stages.tools.metrics import warn_of_changes

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.evaluate.advice.paired import Rival
    from pipeline.evaluate.advice.signs import Signs
    from pipeline.evaluate.settings import RetrievalTask
    from pipeline.params.model import Params

# Samples of a memory that are looked at, and the share that texts have to cover.
MOST, COVERED = 2048, 0.9
# Resamples for the paired intervals if `evaluate.bootstrap` is 0: the advice needs intervals.
RESAMPLES = 1000


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Retrieval tasks, or connections that no task has pairs for; by default all tasks.", show_default=False
        ),
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Compare the methods of a task, or connections, and recommend one for these data.

    With held-out pairs (after `mcr evaluate`) by recall, with the paired 95 % interval of each difference from the
    best. In any case by indicators that need no pairs: whether both directions agree, whether few items are close to
    everything, and whether the texts cover the memories.

    Example: mcr compare audio_image

    Example: mcr compare bridged coupled
    """
    from pipeline.evaluate.settings import RetrievalTask
    from pipeline.params.load import load_params
    from pipeline.store.parquet import read_table
    from stages.context import METRICS, set_up_torch
    from stages.options import pick

    params = load_params(params_file)
    set_up_torch(params)
    comparable = {
        name: task
        for name, task in params.evaluate.tasks.items()
        if isinstance(task, RetrievalTask) and task.connections
    }
    if not comparable and not params.connections:
        raise UserError("There is nothing to compare.", "Add connections to params.yaml, or start with `mcr init`.")
    for name in set(names or ()) & set(params.evaluate.tasks) - set(comparable):
        raise UserError(
            f"The task {name!r} is not a retrieval task, or names no connection.",
            choice(name, comparable or params.connections),
        )
    chosen = names or list(comparable) or list(params.connections)
    # Of a name that both have, the task is meant, unless all names are connections and some are nothing else.
    together = set(chosen) <= set(params.connections) and not set(chosen) <= set(comparable)
    without_task = set(params.connections) - (set() if together else set(comparable))
    unpaired = _unpaired(params, [name for name in chosen if name in without_task])
    tasks = [] if together else pick({**params.connections, **comparable}, chosen, "task or connection")
    path = METRICS / "ranks.parquet"
    warn_of_changes()
    ranks = read_table(path).to_pandas() if path.is_file() else None
    for name, task in tasks:
        if isinstance(task, RetrievalTask):
            _compare(name, task, params, None if ranks is None else ranks[ranks.task == name])
    for name, task in unpaired.items():
        _compare(name, task, params, None)


def _unpaired(params: "Params", names: list[str]) -> "dict[str, RetrievalTask]":
    """Tasks without pairs for the connections called `names`, one for each two modalities that their memories hold."""
    from pipeline.evaluate.settings import RetrievalTask

    links = params.links
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        for link in links[name]:
            if len(pair := sorted({memory.modality for memory in link.memories.values()})) == 2:
                found.setdefault((pair[0], pair[1]), []).append(name)
    return {
        "-".join(pair): RetrievalTask(task="retrieval", corpus="", modalities=pair, connections=tuple(joined))
        for pair, joined in found.items()
    }


def _compare(name: str, task: "RetrievalTask", params: "Params", ranks: "pd.DataFrame | None") -> None:
    """Say what pairs, if there are `ranks`, and what indicators say of the methods of `task`."""
    from pipeline.evaluate.advice.advise import by_pairs, by_signs
    from pipeline.evaluate.advice.unpaired import covered_by_texts, signs_of
    from pipeline.evaluate.baselines import BASELINES
    from stages.context import EMBEDDINGS, MODELS

    usable = {each: params.connections[each] for each in task.connections if not params.connections[each].is_reference}
    links = {each: connection.links(each) for each, connection in usable.items()}
    untrained = {*BASELINES, *(each for each, connection in usable.items() if not connection.record.objective)}
    found: dict[str, Signs] = {}
    for each in usable:
        if made := signs_of(links[each], task.pair, EMBEDDINGS, MODELS / each, MOST):
            found[each] = made
    advice = by_signs(found, untrained, bool(task.labels)) if found else ""
    if ranks is not None and not task.labels:
        compared = _compared(ranks, {each: usable[each].method for each in usable}, task.baselines)
        if compared:
            table, items = _say_rivals(name, task, params, ranks, compared, usable)
            advice = by_pairs(table, untrained, params.connections, items)
    if found:
        _say_signs(name, task, found)
    for memory, texts, space, share in covered_by_texts(links, task.pair, EMBEDDINGS, MOST, params.seed):
        say(f"{name}: {texts} cover {100 * share:.0f} % of {memory}, as {space} sees them")
        if share < COVERED:
            say(
                f"  warning: they do not speak of the rest. More of {texts} about what {memory} show will help more than another method."
            )
    if not advice:
        advice = (
            "there is nothing to compare yet: no connection is evaluated, or trained and joined over unpaired data of both. "
            "Run `dvc repro` first."
            if usable
            else "all of its connections are controls or bounds, none of which is to be taken."
        )
    say(f"{name}: {advice}")


def _say_rivals(
    name: str,
    task: "RetrievalTask",
    params: "Params",
    ranks: "pd.DataFrame",
    compared: list[tuple[str, str, str]],
    usable: Collection[str],
) -> "tuple[list[Rival], int]":
    """Print the methods by recall on held-out pairs; they, best first, and the number of items."""
    from pipeline.evaluate.advice.paired import rivals
    from pipeline.report.yardstick import depth

    items = int(ranks["item"].max()) + 1
    k = depth(items)
    table = rivals(ranks, compared, k, params.evaluate.bootstrap or RESAMPLES, params.seed)
    best, pair = table[0], " and ".join(task.pair)
    say(f"{name}: {pair}, {items} held-out items, R@{k} in both directions; behind the best by (95 %):")
    for rival in table:
        behind = f"{100 * rival.behind:6.1f} ({100 * rival.low:.1f} to {100 * rival.high:.1f})"
        say(f"  {rival.name:24} {100 * rival.value:5.1f} {'' if rival is best else behind}")
    if unmeasured := sorted(set(usable) - {rival.name for rival in table}):
        say(f"  not measured yet, and so not compared: {', '.join(unmeasured)}; run `mcr evaluate`")
    return table, items


def _say_signs(name: str, task: "RetrievalTask", found: "Mapping[str, Signs]") -> None:
    pair = " and ".join(task.pair)
    say(
        f"{name}: {pair} that were never paired, in the memories; neighbours that are mutual, and items that are reached:"
    )
    for each, sign in sorted(found.items(), key=lambda entry: -entry[1].agreement):
        say(f"  {each:24} {100 * sign.agreement:5.1f} % {100 * sign.reached:5.1f} %")


def _compared(ranks: "pd.DataFrame", methods: dict[str, str], baselines: str) -> list[tuple[str, str, str]]:
    """Name, connection and method of what is held against each other: connections, and what needs no training."""
    from pipeline.evaluate.baselines import BASELINES

    there = set(zip(ranks.connection, ranks.method, strict=True))
    wanted = [(name, name, method) for name, method in methods.items()]
    wanted += [(name, baselines, name) for name in BASELINES if baselines and name != "untrained"]
    seen: dict[tuple[str, str], tuple[str, str, str]] = {}
    for each in wanted:
        if each[1:] in there:
            seen.setdefault(each[1:], each)
    return list(seen.values())
