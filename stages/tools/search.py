"""`mcr search`: look into a connected space from the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import note, say

if TYPE_CHECKING:
    from pipeline.explore.index import Found
    from pipeline.explore.samples import Samples


def search(
    queries: Annotated[
        list[str],
        typer.Argument(help="Texts, or paths of image, audio or point files.", show_default=False),
    ],
    modality: Annotated[str, typer.Option("--in", help="What to look for: text, image, audio or point.")] = "image",
    connection: Annotated[
        str, typer.Option(help="The connection to use; by default the suitable one that joins most modalities.")
    ] = "",
    corpus: Annotated[str, typer.Option(help="The corpus to search; by default the connection's memories.")] = "",
    through: Annotated[str, typer.Option(help="The frozen space that embeds the queries, where several can.")] = "",
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="How many results for each query.")] = 5,
    save: Annotated[
        Path | None, typer.Option(help="Copy the found files into this folder.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per query.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Find the items nearest to texts or files, across modalities.

    Each result shows the cosine, corpus/key, its shard, and its caption if it has one. Projected embeddings are kept
    in data/index, which may be removed.

    Examples:

      mcr search "two small metal rings rising" --in image

      mcr search bell.flac "a ringing bell" --in image -k 3 --save found

      mcr search "a dog" --json | jq -r '.results[].key'
    """
    from pipeline.connect.spreads import load_kept
    from pipeline.explore.index import Index, Place
    from pipeline.explore.queries import gallery_of, read_query, widest
    from pipeline.explore.samples import Samples
    from pipeline.params.load import load_params
    from stages.context import EMBEDDINGS, INDEX, MODELS, SHARDS, device_of, set_up_torch
    from stages.options import pick

    params = load_params(params_file)
    asked = [(query, *read_query(query)) for query in queries]
    usable = {name: links for name, links in params.links.items() if not params.connections[name].is_reference}
    name = connection or widest(usable, [source for _, source, _ in asked], modality)
    [(_, links)] = pick(params.links, [name], "connection")
    set_up_torch(params)
    space = load_kept(MODELS / name, links, EMBEDDINGS, device_of(params))
    frozen, corpora = gallery_of(links, space, modality)
    places = [Place(frozen, each, modality) for each in ([corpus] if corpus else corpora)]
    if not places:
        raise UserError(f"The connection {name} was made from no corpus of {modality}.", "Name one: --corpus NAME.")
    index, samples = Index(space, EMBEDDINGS, INDEX / name), Samples(SHARDS)
    for number, (query, source, payload) in enumerate(asked, 1):
        found = index.nearest(space.embed(source, [payload], through or None, names=[query])[0], places, count)
        if as_json:
            _say_json(query, source, name, found, samples)
        else:
            _say_found(query if len(asked) > 1 else "", found, samples)
        if save:
            _save(save, f"{number}-" if len(asked) > 1 else "", found, samples)


def _say_found(query: str, found: "Sequence[Found]", samples: "Samples") -> None:
    if query:
        say(query)
    for item in found:
        path = samples.path(item.corpus, item.shard)
        shard = f"  {path}" if path.is_file() else ""
        caption = samples.caption(item.corpus, item.shard, item.key)
        say(f"{item.score:6.3f}  {item.corpus}/{item.key}{shard}" + (f"  {caption}" if caption else ""))


def _say_json(query: str, source: str, connection: str, found: "Sequence[Found]", samples: "Samples") -> None:
    results = []
    for rank, item in enumerate(found, 1):
        member = samples.member(item.corpus, item.shard, item.key, item.modality)
        results.append(
            {
                "rank": rank,
                "score": round(item.score, 6),
                "corpus": item.corpus,
                "key": item.key,
                "modality": item.modality,
                "caption": samples.caption(item.corpus, item.shard, item.key),
                "shard": samples.path(item.corpus, item.shard).as_posix() if member else "",
                "member": member.name if member else "",
            }
        )
    say(json.dumps({"query": query, "modality": source, "connection": connection, "results": results}))


def _save(folder: Path, prefix: str, found: "Sequence[Found]", samples: "Samples") -> None:
    from pipeline.files.atomic import write_bytes

    for rank, item in enumerate(found, 1):
        if member := samples.member(item.corpus, item.shard, item.key, item.modality):
            write_bytes(folder / f"{prefix}{rank:02d}-{member.name}", member.content)
        else:
            note(f"search: {item.corpus}/{item.key} is in no shard here: it is not in {folder}")
