"""`mcr export`: stores and projectors for programs of others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError, choice
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.connect import ConnectedSpace

app = typer.Typer(help="Export stores and projectors for other programs.", no_args_is_help=True)
KINDS = ("npy", "faiss")


@app.command()
def embeddings(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    store: Annotated[str, typer.Option(help="space/corpus/modality, such as clip/photos/image.", show_default=False)],
    to: Annotated[str, typer.Option(help="npy: the folders that clip-retrieval reads; faiss: a flat index.")] = "npy",
    connection: Annotated[
        str, typer.Option(help="Project into this connected space; by default rows are not projected.")
    ] = "",
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Write a store as arrays or as a FAISS index; rows are float32 with norm 1.

    Examples:

      mcr export embeddings ../photos --store clip/photos/image

      mcr export embeddings ../sounds --store clap/sounds/audio --connection audio_image --to faiss
    """
    from pipeline.export.stores import Exported, write_arrays, write_faiss
    from stages.context import EMBEDDINGS, SHARDS

    if to not in KINDS:
        raise UserError(f"There is no kind {to!r}.", choice(to, KINDS))
    steps = store.split("/")
    if len(steps) != 3 or not all(steps) or {".", ".."} & set(steps):
        raise UserError(f"{store!r} is not the name of a store.", "Name it as space/corpus/modality.")
    connected = _connected(connection, params_file) if connection else None
    if connected and steps[0] not in connected.config.spaces:
        known = ", ".join(connected.config.spaces)
        raise UserError(f"{connection} does not connect {steps[0]!r}.", f"It connects {known}.")
    space, corpus, modality = steps
    wanted = Exported(space, corpus, modality, EMBEDDINGS, SHARDS, connected)
    rows = (write_arrays if to == "npy" else write_faiss)(wanted, folder)
    say(f"export: {rows:,} rows of {store} are in {folder}")


@app.command()
def projectors(
    folder: Annotated[Path, typer.Argument(help="Where the graphs go.", show_default=False)],
    connection: Annotated[str, typer.Option(help="Whose projectors.", show_default=False)],
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Write projectors as ONNX graphs, one for each modality of each space; needs the extra `onnx`.

    Example: mcr export projectors ../graphs --connection audio_image
    """
    from pipeline.export.onnx import write_projectors

    written = write_projectors(_connected(connection, params_file), folder)
    say(f"export: {', '.join(path.name for path in written)} in {folder}")


def _connected(name: str, params_file: Path) -> "ConnectedSpace":
    from pipeline.connect import ConnectedSpace
    from pipeline.params.load import load_params
    from stages.context import MODELS
    from stages.options import pick

    pick(load_params(params_file).connections, [name], "connection")
    return ConnectedSpace.load(MODELS / name)
