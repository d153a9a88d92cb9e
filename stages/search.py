"""`mcr search`: look into a connected space from the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.connect import ConnectedSpace
    from pipeline.params.model import Params


def search(
    query: Annotated[
        str, typer.Argument(help="A text, or the path of an image, audio or point file.", show_default=False)
    ],
    modality: Annotated[str, typer.Option("--in", help="What to look for: text, image, audio or point.")] = "image",
    connection: Annotated[
        str, typer.Option(help="The connection to use; by default the one that fits and joins most modalities.")
    ] = "",
    corpus: Annotated[str, typer.Option(help="The corpus to search; by default the connection's memories.")] = "",
    through: Annotated[str, typer.Option(help="The frozen space that embeds the query, where several can.")] = "",
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="How many results.")] = 5,
    save: Annotated[
        Path | None, typer.Option(help="Copy the found files into this folder.", show_default=False)
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Find the items nearest to a text or a file, across modalities.

    Examples:

      mcr search "two small metal rings rising" --in image

      mcr search bell.flac --in image -k 3 --save found
    """
    from pipeline.connect import ConnectedSpace
    from pipeline.connect.embed import modality_of
    from pipeline.connect.search import search as nearest
    from pipeline.modalities import TEXT
    from pipeline.params.load import load_params
    from stages.context import EMBEDDINGS, MODELS, prepare_torch

    params = load_params(params_file)
    file = Path(query)
    source = modality_of(file) if file.suffix and file.is_file() else TEXT
    payload = query.encode() if source == TEXT else file.read_bytes()
    name = connection or _widest_connection(params, source, modality)
    space = ConnectedSpace.load(MODELS / name, prepare_torch(params))
    gallery, corpora = _gallery(params, space, name, modality, corpus)
    stores = {corpus: EMBEDDINGS / gallery / corpus / modality for corpus in corpora}
    results = nearest(space, source, payload, gallery, stores, count, through or None, modality)
    for found, key, score in results:
        say(f"{score:6.3f}  {found}/{key}")
    if save:
        _save(save, modality, [(found, key) for found, key, _ in results])


def _widest_connection(params: "Params", source: str, target: str) -> str:
    """Of the connections that hold both modalities the one that holds most; the first of several."""
    widths: dict[str, int] = {}
    for name, connection in params.connections.items():
        links = connection.join.links.values()
        held = {memory.modality for link in links for memory in link.memories.values()} | {
            link.overlap for link in links
        }
        if connection.method != "oracle" and connection.retrieve.control == "none" and {source, target} <= held:
            widths[name] = len(held)
    if not widths:
        raise UserError(f"No connection joins {source} and {target}.", "Add one to `connections` in params.yaml.")
    return max(widths, key=lambda name: widths[name])


def _gallery(
    params: "Params", space: "ConnectedSpace", name: str, modality: str, corpus: str
) -> tuple[str, tuple[str, ...]]:
    """The frozen space that embeds what is looked for, and the corpora to look in."""
    connection = params.connections.get(name)
    if connection is None:
        raise UserError(f"params.yaml has no connection {name!r}.", f"Choose from: {', '.join(params.connections)}.")
    links = list(connection.join.links.values())
    for memory_space, memory in (entry for link in links for entry in link.memories.items()):
        if memory.modality == modality:
            return memory_space, (corpus,) if corpus else memory.corpora
    queries = next((link.queries for link in links if link.overlap == modality), ())
    return space.space_of(modality), (corpus,) if corpus else queries


def _save(folder: Path, modality: str, found: list[tuple[str, str]]) -> None:
    from pipeline.atomic import write_bytes
    from pipeline.modalities import MODALITY_OF
    from pipeline.store.shards import open_shards, read_shard
    from stages.context import SHARDS

    wanted = {(corpus, key): rank for rank, (corpus, key) in enumerate(found, 1)}
    for corpus in {corpus for corpus, _ in found}:
        for part in open_shards(SHARDS / corpus).parts:
            for sample in read_shard(SHARDS / corpus / part.name):
                rank = wanted.get((corpus, sample.key))
                for extension, content in sample.members.items():
                    if rank and MODALITY_OF.get(extension) == modality:
                        write_bytes(folder / f"{rank:02d}-{sample.key}.{extension}", content)
