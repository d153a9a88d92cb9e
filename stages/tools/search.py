"""`mcr search`: look into a connected space from the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from stages.options import ParamsFile
from stages.printing import say


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
    from pipeline.connect.search import gallery_of, read_query, widest
    from pipeline.connect.search import search as nearest
    from pipeline.links import store_folder
    from pipeline.params.load import load_params
    from stages.context import EMBEDDINGS, MODELS, device_of, set_up_torch
    from stages.options import pick

    params = load_params(params_file)
    source, payload = read_query(query)
    # Neither bounds nor controls are what somebody wants to search with, unless they are named.
    usable = {
        name: entry.links(name)
        for name, entry in params.connections.items()
        if not entry.record.is_bound and entry.retrieve.control == "none"
    }
    name = connection or widest(usable, source, modality)
    [(_, chosen)] = pick(params.connections, [name], "connection")
    set_up_torch(params)
    space = ConnectedSpace.load(MODELS / name, device_of(params), chosen.links(name)[0].keep)
    gallery, corpora = gallery_of(chosen.links(name), space, modality)
    stores = {each: store_folder(EMBEDDINGS, gallery, each, modality) for each in ([corpus] if corpus else corpora)}
    results = nearest(space, source, payload, gallery, stores, count, through or None, modality)
    for found, key, score in results:
        say(f"{score:6.3f}  {found}/{key}")
    if save:
        _save(save, modality, [(found, key) for found, key, _ in results])


def _save(folder: Path, modality: str, found: list[tuple[str, str]]) -> None:
    from pipeline.files.atomic import write_bytes
    from pipeline.modalities import modality_of
    from pipeline.store.shards import open_shards, read_shard, verify_shard
    from stages.context import SHARDS

    wanted = {(corpus, key): rank for rank, (corpus, key) in enumerate(found, 1)}
    for corpus in {corpus for corpus, _ in found}:
        for part in open_shards(SHARDS / corpus).parts:
            for sample in read_shard(verify_shard(SHARDS / corpus, part)):
                rank = wanted.get((corpus, sample.key))
                for extension, content in sample.members.items():
                    if rank and modality_of(extension) == modality:
                        write_bytes(folder / f"{rank:02d}-{sample.key}.{extension}", content)
