"""`mcr encode`: shards become embedding stores through a frozen space."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.engines import Slice
from stages.options import BreakLock, ParamsFile

if TYPE_CHECKING:
    from pipeline.encode.settings import JobSettings
    from pipeline.params.model import Params


def encode(
    names: Annotated[list[str] | None, typer.Argument(help="Jobs in params.yaml.", show_default=False)] = None,
    space: Annotated[str, typer.Option(help="All jobs of this space, which is loaded once.", show_default=False)] = "",
    params_file: ParamsFile = Path("params.yaml"),
    break_lock: BreakLock = False,
    slice_: Slice = "",
) -> None:
    """Encode corpora, one job (space, corpus) after the other.

    A killed run continues at the last committed part; only stale parts are encoded, and the reason is logged.

    Example: mcr encode clip-photos clap-sounds
    """
    from pipeline.encode.job import EncodeSettings, encode_corpus
    from pipeline.params.load import load_params
    from pipeline.spaces import load_space, prepared_for
    from pipeline.store.parts.prune import keep_only
    from pipeline.store.parts.run import ALONE
    from stages.context import EMBEDDINGS, SHARDS, ConsoleProgress, account, break_locks, device_of, set_up_torch
    from stages.engines import decoders_of, executing
    from stages.specs import space_spec

    params = load_params(params_file)
    jobs = _jobs(params, names or [], space)
    set_up_torch(params)
    device = device_of(params)
    made = []
    specs = {name: prepared_for(space_spec(params.spaces[job.space]), job.options) for name, job in jobs.items()}
    # A space is loaded once for all corpora whose files are prepared alike.
    in_turn = sorted(jobs, key=lambda name: list(specs.values()).index(specs[name]))
    with executing(params, device, slice_) as execution:
        for spec, alike in groupby(in_turn, specs.__getitem__):
            loaded = load_space(spec, device if execution.engine is ALONE.engine else "cpu")
            for name in alike:
                job, settings = jobs[name], params.spaces[jobs[name].space]
                break_locks(break_lock, EMBEDDINGS / job.space / job.corpus, execution.share)
                progress = ConsoleProgress()
                stores = encode_corpus(
                    loaded,
                    job.space,
                    space_spec(settings),
                    SHARDS / job.corpus,
                    EMBEDDINGS / job.space / job.corpus,
                    EncodeSettings(
                        settings.samples_at_once,
                        decoders_of(params, device),
                        params.limits.max_rejected,
                        device,
                        params.run.decode,
                        job.options,
                        settings.store_as,
                    ),
                    progress,
                    execution,
                    params.storage.of("embeddings", f"{job.space}/{job.corpus}"),
                )
                for modality, (manifest, computed) in stores.items():
                    made.append(EMBEDDINGS / job.space / job.corpus / modality)
                    spent = progress.summary(f"encode {job.space} {modality}")
                    account("encode", f"{name} {modality}", manifest, computed, spent)
    if space and not execution.share.partial:
        keep_only(EMBEDDINGS / space, [*made, *_imported(EMBEDDINGS / space)])


def _imported(folder: Path) -> list[Path]:
    """Stores of a space that `mcr import` made: no job can make them again."""
    from pipeline.store import load_manifest
    from pipeline.store.manifest import MANIFEST_NAME

    found = {
        path.parent: load_manifest(path.parent).fingerprint.get("encoder")
        for path in folder.glob(f"*/*/{MANIFEST_NAME}")
    }
    return [store for store, encoder in found.items() if isinstance(encoder, dict) and encoder.get("unverified")]


def _jobs(params: "Params", names: list[str], space: str) -> "dict[str, JobSettings]":
    """The jobs called `names`, or all of `space`."""
    from stages.options import pick

    if bool(names) == bool(space):
        raise UserError("Which jobs are to run?", "Name jobs of params.yaml, or give --space.")
    if not space:
        return dict(pick(params.encode, names, "encode job"))
    pick(params.spaces, [space], "space")
    jobs = {name: job for name, job in params.encode.items() if job.space == space}
    if not jobs:
        raise UserError(f"No job in `encode` uses the space {space!r}.", "Add one to params.yaml, or remove the space.")
    return jobs
