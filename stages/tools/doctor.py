"""`mcr doctor`: can these parameters run on this machine?"""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import McrError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.doctor.finding import Finding
    from pipeline.params.model import Params

PROJECT = Path(__file__).parents[2]


def doctor(
    load: Annotated[bool, typer.Option("--load", help="Also load every space: reliable, but slow.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Check Python, packages, devices, weights, tokenizers, raw data, disk and DVC, with advice.

    Exits with 1 if the parameters cannot run here.

    Example: mcr doctor --params presets/cmcr-audio-image.yaml
    """
    from pipeline.doctor.finding import FAIL, NOTE, OK, Finding
    from pipeline.params.load import load_params

    try:
        params, invalid = load_params(params_file), []
    except McrError as error:
        params, invalid = None, [Finding(FAIL, "parameters", error.message, error.hint)]
    found = invalid + _findings(params, load)
    for finding in found:
        say(f"{finding.level:4}  {finding.subject}: {finding.said}")
        if finding.hint:
            say(f"      -> {finding.hint}")
    count = {level: sum(finding.level == level for finding in found) for level in (OK, NOTE, FAIL)}
    if count[FAIL]:
        raise McrError(
            f"{count[FAIL]} of {len(found)} findings prevent {params_file} from running here.",
            "Follow the advice below each FAIL, then run `mcr doctor` again.",
        )
    say(f"doctor: {params_file} can run here; {count[NOTE]} notes")


def _findings(params: "Params | None", load: bool) -> "list[Finding]":
    import torch

    from pipeline.doctor import inputs, packages, storage
    from pipeline.doctor.links import harmful_links
    from pipeline.doctor.owners import not_yours
    from pipeline.shard.sources.listing import listed_files
    from stages.context import ANNOTATIONS, PLUGINS, RESULTS
    from stages.specs import space_spec

    found = [packages.python(), *packages.packages(PROJECT)]
    cores, gpu = os.cpu_count() or 1, torch.cuda.is_available()
    found += packages.device(params.run.device if params else "auto", params.threads if params else 1, cores)
    found.append(packages.faiss(_faiss_users(params) if params else [], gpu))
    place = storage.dvc(Path("."), [*RESULTS, PLUGINS])
    found += [storage.disk(Path(".")), *not_yours(Path("."), RESULTS), *place.findings]
    found += harmful_links(Path("."), RESULTS, [ANNOTATIONS, PLUGINS])
    if params is None:
        return found
    for name, space in params.spaces.items():
        spec = space_spec(space)
        found += [inputs.checkpoint(name, spec, place.made), *inputs.tokenizer(name, spec)]
        if load and Path(spec.checkpoint).absolute() not in place.made:
            found.append(inputs.loads(name, spec, "cuda" if gpu and params.run.device != "cpu" else "cpu"))
    found += inputs.unused(params.spaces, {job.space for job in params.encode.values()})
    for name, corpus in params.corpora.items():
        found.append(inputs.source(name, corpus.places, place.made, partial(listed_files, corpus)))
    for name, task in params.evaluate.tasks.items():
        for table in task.tables:
            found += inputs.table(name, ANNOTATIONS / table, place.made)
    return found


def _faiss_users(params: "Params") -> list[str]:
    """Links that search with FAISS."""
    return [
        link.label
        for name, links in params.links.items()
        for link in links
        if params.connections[name].retrieve_of(link.spaces).search != "exact"
    ]
