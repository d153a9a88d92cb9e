"""`mcr plan`: what would run, how much it is, how long it takes, and whether it fits."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import McrError, UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.params.model import Params
    from pipeline.plan.changes import Changes
    from pipeline.plan.estimates import Estimate

PARAMS_OF_STAGES = Path("params.yaml")


def plan(
    probe: Annotated[int, typer.Option(min=0, help="Samples to embed for measuring the speed; 0: none.")] = 32,
    scale: Annotated[
        str,
        typer.Option(
            help="Estimate instead for this many samples, or for a corpus described in a .yaml file.",
            show_default=False,
        ),
    ] = "",
    rates: Annotated[
        list[Path] | None,
        typer.Option(help="With --scale: a results file of benchmarks/ to calculate with.", show_default=False),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="With --scale: GPUs, or processes on CPUs.")] = 1,
    cores: Annotated[int, typer.Option(min=1, help="With --scale: decoding cores for each of them.")] = os.cpu_count()
    or 1,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Show what `dvc repro` would run and why, samples, bytes, free disk, and the time, estimated by a short probe.

    Writes nothing. Exits with 1 if the results do not fit on the disk.

    --scale estimates what a corpus of any size would need, from rates measured here or in a results file. It needs no
    params.yaml.

    Examples:

      mcr plan --probe 64

      mcr plan --scale 5.85e9 --devices 8 --cores 16 --rates benchmarks/results/gpu/h100-80gb-hbm3.json
    """
    if scale:
        _say_scale(scale, rates or [], devices, cores)
        return
    from pipeline.params.load import load_params

    params = load_params(params_file)
    changes = _print_changes(params, params_file)
    if changes and not changes.run and _stages_of(params) <= changes.unchanged:
        return
    # Here, because torch takes a second to import.
    from pipeline.doctor.storage import cache_link
    from pipeline.plan.estimates import in_bytes, in_time
    from stages.context import device_of, set_up_torch

    set_up_torch(params)
    device = device_of(params)
    written = seconds = 0.0
    unknown = []
    for estimate in _estimates(params, changes, probe, device):
        say(estimate.said)
        written, seconds = written + estimate.bytes, seconds + estimate.seconds
        unknown += [estimate.unknown] if estimate.unknown else []
    runs = [change.stage for change in changes.run] if changes else []
    rest = [stage for stage in runs if stage.startswith(("train", "evaluate", "report"))]
    unknown += [f"{_stages(len(rest))} of training, evaluation and report"] if rest else []
    factor = 2 if cache_link(Path(".")) == "copy" else 1
    needed, free = factor * written, shutil.disk_usage(".").free
    twice = ", twice because the DVC cache copies," if factor == 2 else ""
    say(f"disk: {in_bytes(needed)} to be written{twice} of {in_bytes(free)} free")
    left_out = f", without {'; '.join(dict.fromkeys(unknown))}" if unknown else ""
    say(f"time: about {in_time(seconds)}{left_out}")
    if needed > free:
        raise McrError(
            f"The results need {in_bytes(needed)}, {in_bytes(free)} are free.",
            "Make room, move the project or its DVC cache (`dvc cache dir`), or use a disk whose links are reflinks.",
        )


def _say_scale(scale: str, files: "list[Path]", devices: int, cores: int) -> None:
    """Print what the corpus that `scale` names would need, and what that was calculated from."""
    import torch

    from pipeline.plan.estimates import in_bytes
    from pipeline.plan.scale.described import described
    from pipeline.plan.scale.measure import measured_rates
    from pipeline.plan.scale.needs import Machines, forward_rate, needs

    corpus = described(scale)
    rates = measured_rates("cuda" if torch.cuda.is_available() else "cpu", Path("."))
    for file in files:
        rates = rates.updated_from(file)
    forward = forward_rate(corpus, rates)
    say(
        f"scale: {corpus.samples:,.0f} samples of {in_bytes(corpus.bytes_per_sample)}, {corpus.width} wide, "
        f"on {devices} {'device' if devices == 1 else 'devices'} with {cores} cores each"
    )
    figures = [
        (f"{rates.products.value / 1e12:,.2f} TFLOP/s of products", rates.products.origin),
        (f"{forward.value:,.0f}/s embedded by a device", forward.origin),
        (f"{rates.decode.value:,.0f}/s decoded by a core", rates.decode.origin),
        (f"{in_bytes(rates.write.value)}/s hashed and written", rates.write.origin),
        (f"{rates.plan.value:,.0f}/s planned", rates.plan.origin),
        (f"retrieval at {rates.aggregation.value:.2f} of the products", rates.aggregation.origin),
    ]
    say(f"rates: {'; '.join(f'{said} ({origin})' for said, origin in figures)}")
    for need in needs(corpus, rates, Machines(devices, cores)):
        say(need.line())


def _stages_of(params: "Params") -> set[str]:
    """Names of the stages whose work is estimated here."""
    shards = {f"shard@{name}" for name, corpus in params.corpora.items() if not corpus.adopt}
    spaces = {f"encode@{job.space}" for job in params.encode.values()}
    return shards | spaces | {f"retrieve@{name}" for name in params.connections}


def _print_changes(params: "Params", params_file: Path) -> "Changes | None":
    """Print what DVC would run; None where this is not a DVC project, or its stages read other parameters."""
    from pipeline.plan.changes import stage_changes
    from stages.tools.inputs import look

    if params_file.absolute() != PARAMS_OF_STAGES.absolute():
        say(f"dvc: its stages read {PARAMS_OF_STAGES}, not {params_file}")
        return None
    try:
        changes = stage_changes(Path("."), [one.path for one in look(params) if one.changed])
    except UserError as error:
        say(f"dvc: {error.message}")
        return None
    if not changes.run and not changes.unchanged:
        say("dvc: there are no stages, so `dvc repro` runs nothing")
        return None
    say(f"dvc repro would run {_stages(len(changes.run))}" + (":" if changes.run else ": everything is up to date"))
    for change in changes.run:
        why = "; ".join(change.reasons) or "if what it depends on comes out different"
        say(f"  {change.stage}: {why}")
    return changes


def _stages(count: int) -> str:
    return "1 stage" if count == 1 else f"{count} stages"


def _estimates(params: "Params", changes: "Changes | None", probe: int, device: str) -> "Iterator[Estimate]":
    from pipeline.plan.estimates import EncodeJob, Machine, encode_estimates, pair_estimates, shard_estimates
    from pipeline.store.manifest import MANIFEST_NAME
    from stages.context import EMBEDDINGS, PAIRS, SHARDS
    from stages.specs import space_spec

    machine, widths = Machine(device, params.run.decoders, probe), dict[str, int]()
    runs = {change.stage for change in changes.run} if changes else set[str]()
    unchanged = changes.unchanged if changes else frozenset[str]()
    yield from shard_estimates(
        {name: corpus.places for name, corpus in params.corpora.items() if not corpus.adopt}, SHARDS, runs
    )
    spaces = params.spaces
    jobs = [
        EncodeJob(
            name,
            job.space,
            job.corpus,
            space_spec(spaces[job.space]),
            spaces[job.space].samples_at_once,
            job.options,
            spaces[job.space].store_as,
        )
        for name, job in params.encode.items()
        if f"encode@{job.space}" not in unchanged  # to load a space takes longer than all else here
    ]
    yield from encode_estimates(jobs, SHARDS, EMBEDDINGS, machine, widths)
    pairs = {
        name: [
            (link, connection.record.pairs, getattr(connection.retrieve_of(link.spaces), "draws", 1))
            for link in connection.links(name)
        ]
        for name, connection in params.connections.items()
        if f"retrieve@{name}" in runs or not any((PAIRS / name).rglob(MANIFEST_NAME))
    }
    yield from pair_estimates(pairs, SHARDS, EMBEDDINGS, machine, widths)
