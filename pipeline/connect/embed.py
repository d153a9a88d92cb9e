"""Embed single files and texts through a frozen space, without shards and stores."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from pipeline.connect.given.items import files_of, payloads_of
from pipeline.errors import SampleError, UserError
from pipeline.modalities import MODALITY_OF
from pipeline.spaces import Space
from pipeline.spaces.apart import preprocess_apart
from pipeline.spaces.protocol import LENGTH_OFF

EMBED_ROWS = 256


def modality_of_file(file: Path) -> str:
    """The modality of a file, by the ending of its name.

    Raises:
        UserError: It ends in nothing that is understood.
    """
    modality = MODALITY_OF.get(file.suffix[1:].lower())
    if modality is None:
        raise UserError(f"{file} is not a supported kind of file.", f"Known are .{', .'.join(MODALITY_OF)}.")
    return modality


def check_embeds(space: Space, modality: str) -> None:
    """Raise a `UserError` if `space` does not embed `modality`."""
    if modality not in space.modalities:
        raise UserError(f"The space does not embed {modality}.", f"It embeds {', '.join(space.modalities)}.")


def embed_payloads(
    space: Space, modality: str, payloads: Sequence[bytes], names: Sequence[str] | None = None
) -> Tensor:
    """Embed the bytes of N files of `modality` as unit rows [N, D], float32 on the CPU.

    Args:
        space: The frozen space.
        modality: One of its modalities.
        payloads: Contents of files as they lie in a shard (PNG, FLAC, UTF-8 text, ...).
        names: What to call them in messages; by default their numbers.

    Raises:
        UserError: A payload cannot be used, or its embedding is not finite; or `payloads` is not a list of bytes, or `names`
            has another length.
    """
    payloads, batches = payloads_of(payloads), []
    if names is not None and len(names) != len(payloads):
        raise UserError(f"There are {len(names)} names for {len(payloads)} payloads.", "Give each its own, or none.")
    with ExitStack() as stack:
        prepare = preprocess_apart(space, modality, stack)
        for start in range(0, len(payloads), EMBED_ROWS):
            inputs = []
            for number, found in enumerate(prepare(payloads[start : start + EMBED_ROWS]), start):
                if isinstance(found, SampleError):
                    name = names[number] if names else f"Item {number}"
                    message = f"{name} is not a usable {modality} ({found.step}: {found.message})."
                    raise UserError(message, "Remove or repair it.") from found
                inputs.append(found)
            batches.append(space.encode(modality, torch.stack(inputs)))
    vectors = torch.cat(batches) if batches else torch.empty(0, space.dimension)
    check_rows(vectors, lambda row: names[row] if names else f"item {row}")
    return vectors


def check_rows(vectors: Tensor, name: Callable[[int], str]) -> None:
    """Refuse `vectors` [N, D] of which one is not finite, or zero.

    Raises:
        UserError: With the `name` of the first such row.
    """
    lengths = vectors.float().norm(dim=1)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bad.any():
        row = int(bad.int().argmax())
        what = "is zero" if lengths[row] == 0 else "is not finite"
        raise UserError(
            f"The embedding of {name(row)} {what}.",
            "If other inputs work, check this one. If not, check the weights, or use precision fp32.",
        )


def check_units(vectors: Tensor, name: Callable[[int], str]) -> None:
    """As `check_rows`; refuse also a row of another length than 1."""
    check_rows(vectors, name)
    lengths = vectors.float().norm(dim=1)
    odd = (lengths - 1).abs() > LENGTH_OFF
    if odd.any():
        row = int(odd.int().argmax())
        raise UserError(
            f"The embedding of {name(row)} has length {lengths[row]:.4g}, where embeddings have length 1.",
            "Divide every row by its length.",
        )


def embed_files(space: Space, files: Sequence[str | Path]) -> Tensor:
    """Embed N files, of any modalities that `space` embeds, as unit rows [N, D] in their order::

        from pipeline.connect import embed_files
        from pipeline.spaces import SpaceSpec, load_space

        clip = load_space(SpaceSpec("open_clip", "data/spaces/clip/ViT-B-32.pt", model="ViT-B-32-quickgelu"))
        vectors = embed_files(clip, ["dog.png", "cat.jpg", "caption.txt"])

    Raises:
        UserError: A file is missing, cannot be used, or is of a modality that the space does not embed.
    """
    paths = files_of(files)
    by_modality: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        if not path.is_file():
            raise UserError(f"There is no file {path}.", "Correct its path.")
        by_modality.setdefault(modality_of_file(path), []).append(row)
    vectors = torch.empty(len(paths), space.dimension)
    for modality, rows in by_modality.items():
        check_embeds(space, modality)
        payloads = [paths[row].read_bytes() for row in rows]
        vectors[rows] = embed_payloads(space, modality, payloads, [str(paths[row]) for row in rows])
    return vectors
