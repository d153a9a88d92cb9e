"""`mcr embed`: single files and texts through one frozen space."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError
from stages.options import ParamsFile
from stages.printing import say

if TYPE_CHECKING:
    import numpy as np

PARQUET, NPY = ".parquet", ".npy"


def embed(
    files: Annotated[list[Path] | None, typer.Argument(help="Files; their extensions decide the modality.")] = None,
    space: Annotated[str, typer.Option(help="A space of params.yaml.", show_default=False)] = "",
    text: Annotated[list[str] | None, typer.Option(help="A text; may be given several times.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .parquet or .npy file; by default JSON lines are printed.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
) -> None:
    """Embed files and texts as unit vectors: the files in their order, then the texts.

    By default one JSON object per line is printed. A Parquet file has the columns of a store, `key` (the path or the
    text) and `embedding`; an npy file holds the array [N, D] float32.

    Examples:

      mcr embed dog.png cat.jpg --text "a photo of a dog" --space clip --output vectors.parquet

      mcr embed bark.flac --space clap
    """
    import torch

    from pipeline.connect.embed import check_embeds, embed_files, embed_payloads
    from pipeline.connect.given.items import texts_of
    from pipeline.modalities import TEXT
    from pipeline.params.load import load_params
    from pipeline.spaces import load_space
    from stages.context import device_of, set_up_torch
    from stages.options import pick
    from stages.specs import space_spec

    paths, texts = files or [], text or []
    if not paths and not texts:
        raise UserError("There is nothing to embed.", 'Name files, or give --text "...".')
    if output and output.suffix not in (PARQUET, NPY):
        raise UserError(f"{output} is neither {PARQUET} nor {NPY}.", "Use one of these extensions.")
    params = load_params(params_file)
    [(_, settings)] = pick(params.spaces, [space], "space")
    set_up_torch(params)
    frozen = load_space(space_spec(settings), device_of(params))
    vectors = embed_files(frozen, paths)
    if texts:
        check_embeds(frozen, TEXT)
        vectors = torch.cat([vectors, embed_payloads(frozen, TEXT, [one.encode() for one in texts_of(texts)], texts)])
    names = [*map(str, paths), *texts]
    if output:
        _write(output, names, vectors.numpy(), space)
        say(f"embed: {len(names)} rows [{len(names)}, {frozen.dimension}] in {output}")
        return
    for name, row in zip(names, vectors.tolist(), strict=True):
        say(json.dumps({"key": name, "embedding": row}, ensure_ascii=False))


def _write(path: Path, names: list[str], vectors: "np.ndarray", space: str) -> None:
    import numpy as np

    from pipeline.files.atomic import atomic_path
    from pipeline.store import EMBEDDING_COLUMN, Rows, write_rows

    with atomic_path(path) as temporary:
        if path.suffix == PARQUET:
            write_rows(temporary, Rows(names, {EMBEDDING_COLUMN: vectors}, {}), {"space": space})
        else:
            with open(temporary, "wb") as file:  # given a name, numpy would add an ending
                np.save(file, vectors)
