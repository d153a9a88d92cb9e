"""A connected space as other programs know models: the `encode` of sentence-transformers, and the encoder of mteb."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.connect.embed import modality_of_file
from pipeline.connect.given.items import utf8_of
from pipeline.connect.given.rows import rows_of
from pipeline.errors import UserError
from pipeline.modalities import AUDIO, IMAGE, TEXT
from pipeline.precision import multiplying

MOST_CHANNELS = 1024  # of a WAV as libsndfile writes it
# What a batch of mteb may hold; anything else in it says something about the items.
MODALITIES = (TEXT, IMAGE, AUDIO)


class Encoder:
    """Encodes texts, pictures and sounds as rows of one connected space, in the ways that benchmarks ask.

    ::

        encoder = Encoder(ConnectedSpace.load("data/models/audio_image"))
        encoder.encode(["a dog barks", Path("dog.png")])  # float32 [2, E]
        mteb.evaluate(encoder, tasks)

    Args:
        space: The connected space.
        name: What results are to be filed under, as ``owner/name``.
    """

    def __init__(self, space: ConnectedSpace, name: str = "") -> None:
        if not isinstance(space, ConnectedSpace):
            raise UserError(
                f"A {type(space).__name__} is not a connected space.", "Pass what `ConnectedSpace.load` returns."
            )
        self.space = space
        self.name = name or f"mcr-connect/{space.config.connection}"

    def encode(self, inputs: object, **_: Any) -> npt.NDArray[np.float32]:
        """Unit rows [N, E] float32.

        Args:
            inputs: A list whose items are texts, paths of files, `PIL.Image` pictures, or sounds as ``{"array": ...,
                "sampling_rate": ...}``; one text; or batches of mteb, mappings of lists by modality. An item of several
                modalities becomes the mean direction of its rows.
            _: What else a program passes (batch size, prompts, the task): the space decides these.

        Raises:
            UserError: An item cannot be used, or is of a modality that the space does not embed.
        """
        if isinstance(inputs, str):
            return self.encode([inputs])[0]
        if not isinstance(inputs, Iterable):
            raise UserError(f"A {type(inputs).__name__} cannot be encoded.", "Pass a list of texts, files or pictures.")
        rows = [self._batch(batch) for batch in _batches(inputs)]
        return torch.cat(rows).numpy() if rows else np.empty((0, self.space.dimension), np.float32)

    @multiplying()
    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [N, M] of rows [N, E] and [M, E]."""
        first, second = _unit(embeddings1), _unit(embeddings2)
        _check_shapes(first, second, first.shape[-1:] == second.shape[-1:] and second.ndim == 2)
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [N] of the rows of two arrays [N, E]."""
        first, second = _unit(embeddings1), _unit(embeddings2)
        _check_shapes(first, second, first.shape == second.shape)
        return (first * second).sum(-1)

    def get_sentence_embedding_dimension(self) -> int:
        """Width E of the rows."""
        return self.space.dimension

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb files results under; the revision is the hash of the connection's own files.

        Raises:
            UserError: mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise UserError("mteb is not installed.", "pip install 'mcr-connect[mteb]'") from error
        from pipeline.hashing import sha256_json

        known = [modality for modality in self.space.modalities if modality in MODALITIES]
        return ModelMeta.create_empty(
            {
                "name": self.name,
                "revision": sha256_json(self.space.config.files)[:40],
                "embed_dim": self.space.dimension,
                "similarity_fn_name": "cosine",
                "framework": ["PyTorch"],
                "modalities": known,
            }
        )

    def _batch(self, batch: Mapping[str, Sequence[object]]) -> Tensor:
        """Rows [N, E] of items that have the same modalities."""
        rows = []
        for modality, items in batch.items():
            if modality not in self.space.modalities:
                raise UserError(
                    f"{self.name} does not embed {modality}.", f"It embeds {', '.join(self.space.modalities)}."
                )
            rows.append(self.space.embed(modality, [_payload(modality, item) for item in items]))
        return rows[0] if len(rows) == 1 else normalize(torch.stack(rows).mean(0), dim=-1)


def _batches(inputs: Iterable[object]) -> Iterator[dict[str, list[object]]]:
    """By modality lists of items as long as each other, in the order of `inputs`."""
    for item in inputs:
        if isinstance(item, Mapping) and "array" not in item:
            found = {name: list(item[name]) for name in MODALITIES if item.get(name) is not None}
            if not found:
                raise UserError(f"A batch holds none of {', '.join(MODALITIES)}.", "Pass lists by these names.")
            yield found
        else:
            yield {_modality(item): [item]}


def _modality(item: object) -> str:
    if isinstance(item, Path):
        return modality_of_file(item)
    return TEXT if isinstance(item, str) else IMAGE if isinstance(item, Image.Image) else AUDIO


def _payload(modality: str, item: object) -> bytes:
    """An item as the bytes of a file: text, a PNG, or a WAV of floats, which lose nothing."""
    if isinstance(item, Path):
        if not item.is_file():
            raise UserError(f"There is no file {item}.", "Correct its path.")
        return item.read_bytes()
    if isinstance(item, str):
        return utf8_of(item, "A text")
    buffer = io.BytesIO()
    if modality == IMAGE and isinstance(item, Image.Image):
        item.convert("RGB").save(buffer, "PNG")
    elif modality == AUDIO:
        wave, rate = _wave(item)
        soundfile.write(buffer, wave, rate, format="WAV", subtype="FLOAT")
    else:
        raise UserError(f"A {type(item).__name__} cannot be encoded as {modality}.", "Pass a file of that kind.")
    return buffer.getvalue()


def _wave(item: Any) -> tuple[npt.NDArray[np.float32], int]:
    """Samples [T] or [T, C] and rate of a sound: a mapping, or a decoder of torchcodec."""
    if hasattr(item, "get_all_samples"):
        decoded = item.get_all_samples()
        return np.asarray(decoded.data.T, np.float32), int(decoded.sample_rate)
    try:
        found, rate = rows_of(item["array"]), int(item["sampling_rate"])
    except (UserError, TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise UserError(
            f"A {type(item).__name__} is not a sound.", 'Pass {"array": [T], "sampling_rate": ...} or a Path.'
        ) from error
    if not found.is_floating_point() and found.any():
        said = str(found.dtype).removeprefix("torch.")
        raise UserError(f"A sound of {said} has no known loudness.", "Divide it by its full scale: 32768 for 16 bits.")
    if found.ndim not in (1, 2) or (found.ndim == 2 and not 0 < found.shape[1] <= MOST_CHANNELS) or rate <= 0:
        raise UserError(
            f"An array of shape {list(found.shape)} with {rate} samples a second is not a sound.",
            "Pass samples [T], or [T, C] with the channels last, and their rate.",
        )
    return found.float().cpu().numpy(), rate


def _unit(rows: Any) -> Tensor:
    return normalize(rows_of(rows).float(), dim=-1)


def _check_shapes(first: Tensor, second: Tensor, fit: bool) -> None:
    if not fit:
        raise UserError(
            f"Rows of shapes {list(first.shape)} and {list(second.shape)} cannot be compared.",
            "Pass rows of one connected space, as many of both for `similarity_pairwise`.",
        )
