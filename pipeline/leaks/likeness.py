"""What the samples of corpora hold: each shard is decoded once, when it is first compared; see `pipeline.leaks.tables`."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.decode.audio import decode_audio
from pipeline.decode.clouds.points import decode_points
from pipeline.decode.images import decode_image, open_image
from pipeline.decode.isolated import Isolated
from pipeline.decode.text import decode_text
from pipeline.errors import CorruptError, SampleError
from pipeline.leaks.tables import CONTENT_BYTES, FEWEST_LEVELS, THUMBNAIL_SIDE, Likeness, keep_likeness, kept_likeness
from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT, modality_of
from pipeline.progress import Progress
from pipeline.store.manifest import Part
from pipeline.store.shards import open_shards, read_shard, verify_shard

# A JPEG is decoded at an eighth, a quarter or half of its size, but not below this: several times faster.
DRAFT_SIDE = 64
LOUDEST = 2**15 - 1
MOST_WORKERS = 8
# Members that are handed to a process at a time.
FEW, FEW_BYTES = 64, 1 << 20


def look_at(corpora: Sequence[Path], kept: Path, progress: Progress) -> dict[str, str]:
    """See that it is known what every sample of `corpora` holds; shards that were looked at before are not again.

    Args:
        corpora: Folders of shards.
        kept: Where it is kept, in a folder for each corpus.
        progress: Told of the samples that are decoded.

    Returns:
        Corpora of which a shard could not be read, and why.

    Raises:
        UserError: A folder holds no finished shards.
    """
    new = [
        (folder, shard)
        for folder in corpora
        for shard in open_shards(folder).parts
        if not kept_likeness(kept / folder.name, shard)
    ]
    if not new:
        return {}
    progress.start("look for leaks", sum(shard.rows for _, shard in new), "samples")
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    refused: dict[str, str] = {}
    # A file can make its decoder crash, hang, or ask for all memory: each thread has a process that decodes for it.
    with Isolated(_looked_at, workers) as apart, ThreadPoolExecutor(workers) as pool:
        # `map` forgets what has not begun when a signal comes.
        found = pool.map(partial(_keep, kept, apart), *zip(*new, strict=True))
        for (folder, shard), reason in zip(new, found, strict=True):
            progress.advance(shard.rows)
            if reason:
                refused.setdefault(folder.name, reason)
    return refused


_Member = tuple[str, str, bytes]


def _keep(kept: Path, apart: Isolated[_Member, Likeness], folder: Path, shard: Part) -> str:
    """Look at one shard; why it could not be read, if so."""
    try:
        rows = _likeness_of(verify_shard(folder, shard), apart)
    except CorruptError as error:
        return error.message
    keep_likeness(kept / folder.name, shard, rows)
    return ""


def _likeness_of(shard: Path, apart: Isolated[_Member, Likeness]) -> list[Likeness]:
    members = (
        (sample.key, modality_of(extension), content)
        for sample in read_shard(shard)
        for extension, content in sample.members.items()
        if modality_of(extension)  # others are in tars that were adopted as they are
    )
    found: list[Likeness] = []
    while few := _few(members):
        texts_only = all(modality == TEXT for _, modality, _ in few)
        answers = [_looked_at(member) for member in few] if texts_only else apart(few)
        for (key, modality, _), answer in zip(few, answers, strict=True):
            found.append(Likeness(key, modality, None, None) if isinstance(answer, SampleError) else answer)
    return found


def _few(members: Iterator[_Member]) -> list[_Member]:
    few: list[_Member] = []
    while len(few) < FEW and sum(len(content) for _, _, content in few) < FEW_BYTES and (one := next(members, None)):
        few.append(one)
    return few


def _looked_at(member: _Member) -> Likeness:
    return likeness(*member)


def likeness(key: str, modality: str, content: bytes) -> Likeness:
    """What the member `content` of the sample `key` holds."""
    try:
        decoded, look = _DECODED.get(modality, _bytes)(content)
    except (SampleError, MemoryError):
        return Likeness(key, modality, None, None)  # Encoding it will say what is wrong with it.
    return Likeness(key, modality, hashlib.blake2b(decoded, digest_size=CONTENT_BYTES).digest(), look)


def _picture(content: bytes) -> tuple[bytes, bytes | None]:
    if content.startswith(b"\xff\xd8"):
        image = open_image(content)
        image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
        try:
            image = image.convert("RGB")
        except OSError as error:
            raise SampleError("decode", "damaged image") from error
    else:
        image = decode_image(content)
    pixels = f"{image.width} x {image.height}".encode() + image.tobytes()
    small = np.asarray(image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0))
    return pixels, small.tobytes() if small.std() >= FEWEST_LEVELS else None


def _sound(content: bytes) -> tuple[bytes, None]:
    sound = decode_audio(content, by_trial=False)
    # In 16 bits: one and the same sound is stored as integers and as floats.
    samples = np.rint(np.clip(sound.wave, -1, 1) * LOUDEST).astype("<i2")
    return f"{sound.rate} Hz".encode() + samples.tobytes(), None


def _cloud(content: bytes) -> tuple[bytes, None]:
    places = decode_points(content)[:, :3] + np.float32(0)  # no negative zero
    return places[np.lexsort(places.T[::-1])].astype("<f4").tobytes(), None


def _bytes(content: bytes) -> tuple[bytes, None]:
    return content, None  # of a declared modality, whose files are decoded by its encoder


def _words(content: bytes) -> tuple[bytes, None]:
    text = unicodedata.normalize("NFKC", decode_text(content)).casefold()
    spoken = "".join(" " if unicodedata.category(character)[0] in "PZC" else character for character in text)
    return " ".join(spoken.split()).encode(errors="surrogatepass"), None


_DECODED = {IMAGE: _picture, AUDIO: _sound, POINT: _cloud, TEXT: _words}
