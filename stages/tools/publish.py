"""`mcr publish`: give a connection away."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.connect.origins import Origins
    from pipeline.params.model import Params
    from pipeline.publish.sources import Source
    from pipeline.report.write import GivenAway


def publish(
    folder: Annotated[Path | None, typer.Argument(help="A new folder.", show_default=False)] = None,
    to: Annotated[str, typer.Option(help="hub:owner/name, a repository of the Hugging Face Hub.")] = "",
    connection: Annotated[
        str, typer.Option(help="The connection; by default the first that is neither a control nor a bound.")
    ] = "",
    include: Annotated[
        list[str] | None,
        typer.Option(help="A space whose weights you may redistribute; may be given several times."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the projectors, such as apache-2.0.")] = "",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Publish a connection, as a folder or on the Hugging Face Hub, for `ConnectedSpace.from_pretrained`.

    It contains the projectors, their configuration, the metrics, a model card, and where the weights of the frozen
    spaces are published; no raw data and no path of this machine.

    Examples:

      mcr publish ../audio-image --licence apache-2.0

      mcr publish --to hub:owner/audio-image --connection audio_image
    """
    from pipeline.connect.config import load_config
    from pipeline.params.load import load_params
    from pipeline.publish.upload import repository_of, upload
    from pipeline.publish.write import Published, write_published
    from stages.context import MODELS
    from stages.options import pick

    if not folder and not to:
        raise UserError("Nothing says where to publish.", "Name a folder, or --to hub:owner/name.")
    repository = repository_of(to) if to else ""
    params = load_params(params_file)
    name = connection or _first(params)
    pick(params.connections, [name], "connection")
    config = load_config(MODELS / name)
    pick(config.spaces, include or [], "space of the connection")
    origins = _origins(params, name, include or [])
    given = _given(repository or (folder.name if folder else name), licence, origins)
    published = Published(MODELS / name, origins, _card(params, name, given), _metrics(name))
    for space, origin in origins.spaces.items():
        if not origin.is_known:
            say(
                f"publish: nobody else can load the space {space}, whose weights come from no repository that params.yaml "
                f"names under `fetch`; if they are yours, add --include {space}"
            )
    with tempfile.TemporaryDirectory() as temporary:
        target = folder or Path(temporary, name)
        names = write_published(published, target)
        if folder:
            say(f"publish: {name} is in {folder}, {len(names)} files")
        if repository:
            commit = upload(target, repository, names, private, f"The connection {name}")
            say(f"publish: {name} is {repository}, commit {commit}")


def _first(params: "Params") -> str:
    usable = [name for name, entry in params.connections.items() if not entry.is_reference]
    if not usable:
        raise UserError("params.yaml has no connection to publish.", "Name one: --connection NAME.")
    return usable[0]


def _origins(params: "Params", name: str, included: list[str]) -> "Origins":
    from pipeline.connect.config import load_config
    from pipeline.connect.origins import Origins
    from pipeline.connect.spreads import load_kept
    from pipeline.publish.sources import origin_of
    from pipeline.spaces import SpaceSpec
    from stages.context import EMBEDDINGS, MODELS

    known = _fetched(params)
    spaces = load_config(MODELS / name).spaces
    links = params.links[name]
    return Origins(
        keep=load_kept(MODELS / name, links, EMBEDDINGS).keep,
        combine=links[0].combine,
        spaces={space: origin_of(space, SpaceSpec(**record.spec), known, included) for space, record in spaces.items()},
    )


def _fetched(params: "Params") -> "dict[Path, Source]":
    """What `mcr fetch` knows of the files that it got."""
    from pipeline.fetch.record import Record
    from pipeline.fetch.run import wanted_files
    from pipeline.publish.sources import Source
    from stages.tools.data.fetch import RECORD

    record = Record(RECORD)
    found = {}
    for file in wanted_files([entry for entries in params.fetch.values() for entry in entries]):
        if file.entry.kind != "model":
            continue
        fetched = record.files.get(file.target.as_posix())
        commit = (fetched.commit if fetched else "") or file.entry.revision
        sha256 = (fetched.sha256 if fetched else "") or file.expected.sha256
        found[file.target.resolve()] = Source(file.entry.repository, commit, file.path, file.entry.licence, sha256)
    return found


def _given(source: str, licence: str, origins: "Origins") -> "GivenAway":
    from pipeline.report.write import GivenAway

    files = [file for origin in origins.spaces.values() for file in origin.files.values()]
    return GivenAway(
        source=source,
        licence=licence,
        spaces={space: origin.said for space, origin in origins.spaces.items()},
        licences={space: "; ".join(origin.licences) for space, origin in origins.spaces.items()},
        repositories=sorted({file.repository for file in files if file.repository}),
    )


def _card(params: "Params", name: str, given: "GivenAway") -> str:
    from pipeline.report.inputs import Inputs
    from pipeline.report.write import model_card
    from stages.context import DATA
    from stages.leaks import leaks_of

    inputs = Inputs(DATA, params.links, params.evaluate.corpora, name)
    return model_card(inputs, params.report, leaks_of(params, params.connections), given)


def _metrics(name: str) -> list[dict[str, object]]:
    """Rows of the metrics about the connection; none where nothing was measured."""
    from pipeline.store.parquet import read_table
    from stages.context import METRICS

    path = METRICS / "metrics.parquet"
    rows = read_table(path).to_pylist() if path.is_file() else []
    return [
        {column: None if value != value else value for column, value in row.items()}  # JSON has no NaN
        for row in rows
        if row.get("connection") == name
    ]
