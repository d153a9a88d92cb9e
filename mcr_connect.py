"""Connect frozen contrastive spaces (CLIP, CLAP, ULIP, ...) without paired data: what other programs import.

::

    from mcr_connect import ConnectedSpace, embed

    space = ConnectedSpace.from_pretrained("owner/name")
    vectors = embed(space, files=["dog.png", "bark.flac"], texts=["a dog barks"])
    print(vectors @ vectors.T)
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from pipeline.connect import ConnectedSpace
from pipeline.connect.embed import embed_files, embed_payloads, modality_of_file
from pipeline.connect.given.items import files_of, texts_of
from pipeline.errors import CorruptError, McrError, TryAgainError, UserError
from pipeline.export.encoder import Encoder
from pipeline.modalities import TEXT
from pipeline.spaces import Space, SpaceSpec, load_space

__all__ = [
    "ConnectedSpace",
    "CorruptError",
    "Encoder",
    "McrError",
    "Space",
    "SpaceSpec",
    "TryAgainError",
    "UserError",
    "embed",
    "load_space",
]

try:
    __version__ = version("mcr-connect")
except PackageNotFoundError:  # a clone that was not installed
    __version__ = "0"


def embed(space: ConnectedSpace | Space, files: Sequence[str | Path] = (), texts: Sequence[str] = ()) -> Tensor:
    """Unit rows [N, D] float32 on the CPU: the files in their order, then the texts.

    Args:
        space: A connected space, or a frozen one.
        files: Of any modalities that the space embeds; their endings tell which.
        texts: Words.

    Raises:
        UserError: A file is missing, cannot be used, or is of a modality that the space does not embed; or `files` is not a
            list of paths, or `texts` not a list of strings.
    """
    paths, words = files_of(files), texts_of(texts)
    payloads, names = [text.encode() for text in words], [shorten(text, 80) or "An empty text" for text in words]
    if not hasattr(space, "dimension"):
        raise UserError(
            f"A {type(space).__name__} is not a space.", "Pass what `ConnectedSpace.load` or `load_space` returns."
        )
    if not isinstance(space, ConnectedSpace):
        rows = [embed_files(space, paths)] if paths else []
        return torch.cat([*rows, embed_payloads(space, TEXT, payloads, names)] if words or not rows else rows)
    rows = []
    for file in paths:
        if not file.is_file():
            raise UserError(f"There is no file {file}.", "Correct its path.")
        rows.append(space.embed(modality_of_file(file), [file.read_bytes()], names=[str(file)]))
    if words:
        rows.append(space.embed(TEXT, payloads, names=names))
    return torch.cat(rows) if rows else torch.empty(0, space.dimension)
