"""`mcr inputs`: what corpora and spaces are made from, so that DVC sees when it changes."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say
from stages.project import write_code

if TYPE_CHECKING:
    from pipeline.encode.settings import SpaceSettings
    from pipeline.inputs.contents import InputFile
    from pipeline.params.connection import Connection
    from pipeline.params.model import Params
    from pipeline.shard.settings import CorpusSettings

MOST_WORKERS = 8
FAMILIES = Path(__file__).parents[2] / "pipeline" / "spaces"


def inputs(params_file: ParamsFile = Path("params.yaml")) -> None:
    """List raw data and weights, wherever they lie: which files, how large, and a hash of all of them.

    `dvc repro` begins with it. A file is read once, and again only if its size or modification time changes. Inputs
    that were removed after sharding or encoding are reported; their results stay.

    Example: mcr inputs
    """
    from pipeline.doctor.links import refuse_harmful_links
    from pipeline.files.atomic import write_text
    from pipeline.params.load import load_params
    from stages.context import ANNOTATIONS, INPUTS, PLUGINS, RESULTS, make_plugins_folder

    params = load_params(params_file)
    refuse_harmful_links(Path("."), RESULTS, [ANNOTATIONS, PLUGINS])
    for folder in (INPUTS / "corpora", INPUTS / "spaces", INPUTS / "connections", *RESULTS):
        folder.mkdir(parents=True, exist_ok=True)  # stages depend on them, also where there is nothing to put there
    make_plugins_folder()
    write_code()
    seen = list(look(params))
    for one in seen:
        if one.changed:
            write_text(one.path, one.now)
        if one.error and one.kept:
            say(f"inputs {one.path.stem}: {one.error.message} {one.kept}, made from it before, stays in use.")
    if missing := [one.error for one in seen if one.error and not one.kept]:
        more = "".join(f"\n  {error.message}" for error in missing[1:])
        raise UserError(f"{missing[0].message}{more}", missing[0].hint)
    changed = ", ".join(one.path.stem for one in seen if one.changed)
    say(
        f"inputs: {len(params.corpora)} corpora, {len(params.spaces)} spaces, {sum(one.files for one in seen):,} files; "
        + (f"changed: {changed}" if changed else "nothing changed")
    )


@dataclass(frozen=True)
class Look:
    """A corpus or a space as it is now.

    Attributes:
        path: The file that describes it.
        now: What that file is to hold; empty if the input is not there.
        changed: Whether it holds something else.
        files: How many files the input is.
        error: Why it cannot be described.
        kept: What was made from it before.
    """

    path: Path
    now: str = ""
    changed: bool = False
    files: int = 0
    error: UserError | None = None
    kept: Path | None = None


def look(params: "Params") -> Iterator[Look]:
    """Compare every corpus and space with what its file says; nothing is written but the hashes of files."""
    from stages.context import EMBEDDINGS, INPUTS, MODELS, SHARDS

    tables: tuple[tuple[str, Mapping[str, CorpusSettings | SpaceSettings | Connection], Path], ...] = (
        ("corpora", params.corpora, SHARDS),
        ("spaces", params.spaces, EMBEDDINGS),
        ("connections", params.connections, MODELS),
    )
    for kind, table, results in tables:
        for name, settings in table.items():
            path = INPUTS / kind / f"{name}.json"
            before = path.read_text() if path.is_file() else ""
            try:
                found = described(name, settings, params)
            except UserError as error:
                kept = results / name if before and (results / name).is_dir() else None
                yield Look(path, error=error, kept=kept)
                continue
            now = json.dumps(found, indent=1) + "\n"
            yield Look(path, now, now != before, int(str(found["files"])))


def described(
    name: str, settings: "CorpusSettings | SpaceSettings | Connection", params: "Params"
) -> Mapping[str, object]:
    """What a corpus or a space is made from, or a connection beside embeddings: files of projectors, if it has any.

    Raises:
        UserError: It is not there.
    """
    from pipeline.inputs.contents import contents
    from pipeline.params.connection import Connection
    from pipeline.plugins import ENCODERS, SOURCES, made_by  # DVC has no dependency on an installed package
    from pipeline.shard.settings import CorpusSettings
    from pipeline.shard.sources.listing import listed_files
    from stages.context import INPUTS, ConsoleProgress

    place: dict[str, object]
    files: list[InputFile]
    if isinstance(settings, CorpusSettings):
        kind, place, files = "corpora", {"source": settings.source}, [*listed_files(settings)]
        place |= made_by(SOURCES, settings.kind)
        place |= {"modalities": dict(settings.declared)} if settings.declared else {}
    elif isinstance(settings, Connection):
        kind, place, files = "connections", *_projectors(name, settings, params)
    else:
        code = made_by(ENCODERS, settings.encoder)
        kind, place, files = "spaces", {"checkpoint": settings.checkpoint, **code}, _weights(name, settings, code)
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    return place | contents(files, INPUTS / "memory" / kind / f"{name}.jsonl", ConsoleProgress(), workers)


def _projectors(name: str, connection: "Connection", params: "Params") -> "tuple[dict[str, object], list[InputFile]]":
    """Files of projectors that a connection names, what it says of its spaces where it reads no embeddings, and version
    and source hash of a method that is a plug-in.
    """
    from pipeline.inputs.weights import file_at
    from pipeline.plugins import METHODS, made_by
    from pipeline.train.settings import ImportSettings

    links = connection.links(name)
    named = [(link, connection.train_of(link.spaces)) for link in links]
    paths = [Path(train.file) for _, train in named if isinstance(train, ImportSettings) and train.file]
    if missing := next((path for path in paths if not path.is_file()), None):
        raise UserError(
            f"{missing} does not exist.", f"Put the published projectors there, or correct `file` of {name}."
        )
    spaces = sorted({space for link in links for space in link.spaces}) if paths else []
    said: dict[str, object] = {"spaces": {space: params.spaces[space].model_dump() for space in spaces}}
    said |= made_by(METHODS, connection.method)
    return said, [file_at(path) for path in sorted(set(paths))]


def _weights(name: str, settings: "SpaceSettings", code: Mapping[str, object]) -> "list[InputFile]":
    from pipeline.inputs.weights import files_of
    from stages.context import INPUTS

    def ask() -> list[Path]:
        from pipeline.spaces import weight_files
        from stages.specs import space_spec

        return weight_files(space_spec(settings))

    memory = INPUTS / "memory" / "spaces" / f"{name}.files.json"
    return [*files_of({**settings.model_dump(), **code}, Path(settings.checkpoint), FAMILIES, memory, ask)]
