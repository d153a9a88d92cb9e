"""`mcr fetch`: the published files that params.yaml names, onto this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.fetch.run import Wanted
    from pipeline.fetch.settings import FetchedRepository

RECORD = Path("data/fetched.json")


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Parts of `fetch` in params.yaml.", show_default=False)
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="List what would be fetched, without fetching it.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Fetch weights, tokenizers and public data from the Hugging Face Hub, or from the mirror HF_ENDPOINT.

    Existing files are not fetched again; interrupted transfers resume; every file is checked.

    Example: mcr fetch clip clap
    """
    from pipeline.fetch import run
    from pipeline.fetch.record import Record
    from pipeline.params.load import load_params
    from stages.options import pick

    params = load_params(params_file)
    chosen = dict(pick(params.fetch, names, "part of fetch")) if names else dict(params.fetch)
    if not chosen:
        say(f"{params_file} names nothing to fetch: put your own files where `mcr doctor` misses them.")
        return
    for name, entries in chosen.items():
        _describe(name, entries)
    if only_list:
        return
    record = Record(RECORD)
    files = run.wanted_files([entry for entries in chosen.values() for entry in entries])
    for file, fetched, how in run.fetch(files, record, start=_started):
        if fetched is None:
            say(f"{how:7}  {file.target}: {file.entry.repository} does not have it, and it is not needed")
            continue
        known = fetched.repository or file.expected.sha256
        say(
            f"{how:7}  {file.target}  {_size(fetched.bytes)}  sha256 {fetched.sha256}"
            + ("" if known else "; not compared: it was not fetched, and params.yaml names no hash of it")
        )
        if fetched.commit and fetched.commit != file.entry.revision:
            say(f"         {file.entry.revision} was the commit {fetched.commit}: write that as its `revision`")
    say("fetch: everything is there; `mcr doctor` looks at it, and HF_HUB_OFFLINE=1 may be set from now on")


def _started(file: "Wanted") -> None:
    say(f"fetching {file.path} of {file.entry.repository}")


def _describe(name: str, entries: "Sequence[FetchedRepository]") -> None:
    from pipeline.fetch.settings import total_size

    for entry in entries:
        say(f"{name}: {entry.repository}@{entry.revision[:12]} -> {entry.to}")
        say(f"  {len(entry.files)} files, {total_size([entry])}; licence: {entry.licence}")
        if entry.access:
            say(f"  access: {entry.access}")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
