"""`mcr serve`: a page on this machine that looks into connected spaces."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    from pipeline.explore.asked import Opened
    from pipeline.explore.guard import Guard
    from pipeline.explore.uploads import Uploads
    from pipeline.params.connection import Connection
    from pipeline.params.model import Params

PORT = 8765
HOST = "127.0.0.1"


def serve(
    connections: Annotated[
        list[str] | None,
        typer.Argument(help="Connections; by default all that are neither controls nor bounds.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = PORT,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Serve a page that searches across modalities: by words, by a picture, a sound or a point cloud, or by an item.

    It listens only on the loopback address, writes only to data/index, and ends with Ctrl-C. From another machine:
    ssh -L 8765:127.0.0.1:8765 HOST.

    Example: mcr serve audio_image bridged
    """
    from pipeline.params.load import load_params

    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"`mcr serve` needs {error.name}, which is not installed.", "pip install 'mcr-connect[serve]'"
        ) from error
    params = load_params(params_file)
    listener = _listen(port)
    say("serve: loading the frozen spaces")
    app = make_application(params, connections or [])
    say(f"serve: http://{HOST}:{listener.getsockname()[1]}/ until Ctrl-C")
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def make_application(params: "Params", names: list[str]) -> "Guard":
    """The application over connections of `params`; all that are of use where none are named."""
    from pipeline.explore.app import make_app
    from pipeline.explore.explorer import Explorer
    from pipeline.explore.media import Media
    from pipeline.explore.samples import Samples
    from stages.context import EMBEDDINGS, MODELS, SHARDS, set_up_torch
    from stages.options import pick

    set_up_torch(params)
    usable = [
        name
        for name, entry in params.connections.items()
        if not entry.is_reference and (MODELS / name / "config.json").is_file()
    ]
    chosen = pick(params.connections, names or usable, "connection")
    if not chosen:
        raise UserError("No connection is trained yet.", "Run `dvc repro`, or `mcr train NAME`.")
    opened = {name: _opened(params, name, entry) for name, entry in chosen}
    explorer = Explorer(opened, EMBEDDINGS, Samples(SHARDS))
    return make_app(explorer, _uploads(), Media(), params.report.title)


def _opened(params: "Params", name: str, entry: "Connection") -> "Opened":
    from pipeline.connect.config import CONFIG_NAME
    from pipeline.connect.spreads import load_kept
    from pipeline.explore.asked import Opened
    from pipeline.explore.index import Index
    from pipeline.hashing import sha256_file
    from stages.context import EMBEDDINGS, INDEX, MODELS, device_of

    folder, links = MODELS / name, entry.links(name)
    config = sha256_file(folder / CONFIG_NAME)  # before the rest: a training that ends now is noticed later
    space = load_kept(folder, links, EMBEDDINGS, device_of(params))
    averaged = entry.record.pairs == "averaged"
    temperature = float(getattr(entry.retrieve, "temperature", 0.0)) if averaged else 0.0
    return Opened(entry.record.label, links, space, Index(space, EMBEDDINGS, INDEX / name), temperature, folder, config)


def _uploads() -> "Uploads":
    """What may be uploaded: what the shard stage takes, checked and converted as it does."""
    from pipeline.explore.uploads import Uploads
    from pipeline.modalities import MODALITIES, source_endings
    from pipeline.shard.limits import MAX_BYTES
    from pipeline.shard.members import Conversion, check_member, convert_member

    def admit(modality: str, ending: str, content: bytes) -> tuple[str, bytes]:
        check_member(modality, ending, content)
        return convert_member(modality, ending, content, "upload", Conversion())

    return Uploads(admit, {modality: source_endings(modality) for modality in MODALITIES}, MAX_BYTES)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"Port {port} of {HOST} cannot be used: {error.strerror}.", "Name another one, or --port 0 for any."
        ) from error
    return listener
