"""Samples as they look and sound: members of the shards as data: URIs, and a picture for every sound."""

import base64
import logging
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import SampleError
from pipeline.files.reading import open_patiently, written_by_us
from pipeline.modalities import AUDIO, IMAGE, MODALITY_OF, POINT, TEXT, modality_of
from pipeline.store.manifest import MANIFEST_NAME, load_manifest
from pipeline.store.shards import verify_shard
from pipeline.thumbnails import Painter

log = logging.getLogger(__name__)

TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "jfif": "image/jpeg",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "oga": "audio/ogg",
    "opus": "audio/ogg",
    "aiff": "audio/aiff",
    "aif": "audio/aiff",
    "au": "audio/basic",
}
LARGEST_PICTURE = 16_384  # bytes; a bigger one is shown as a thumbnail
LARGEST_CAPTION = 300  # characters


@dataclass(frozen=True)
class Member:
    """One member of a sample: its bytes, its extension, and the shard that it is from."""

    content: bytes
    extension: str
    shard: str = ""


Members = Mapping[tuple[str, str], Member]
"""Members by (key, modality)."""


@dataclass(frozen=True)
class Need:
    """A sample that the page shows, and the corpora that it is in one of."""

    key: str
    modality: str
    corpora: tuple[str, ...]


def read_members(shards: Path, needs: Sequence[Need]) -> dict[str, Members]:
    """Read what the page shows from the shards.

    Args:
        shards: Folder that holds one folder of tars per corpus.
        needs: What is shown.

    Returns:
        By corpus: members by (key, modality). What is not there is missing from it.

    Raises:
        CorruptError: A shard is missing or damaged.
    """
    wanted: dict[str, set[str]] = {}
    for need in needs:
        for corpus in need.corpora:
            wanted.setdefault(corpus, set()).add(need.key)
    return {corpus: _read_corpus(shards / corpus, keys) for corpus, keys in sorted(wanted.items())}


def _read_corpus(folder: Path, keys: set[str]) -> Members:
    members: dict[tuple[str, str], Member] = {}
    for part in load_manifest(folder).parts if (folder / MANIFEST_NAME).is_file() else ():
        if {key for key, _ in members} >= keys:
            break
        members.update(_read_shard(verify_shard(folder, part), keys))
    return members


def _read_shard(path: Path, keys: set[str]) -> dict[tuple[str, str], Member]:
    members = {}
    with (
        written_by_us(path, "Remove it and run `mcr shard` again."),
        open_patiently(path) as opened,
        tarfile.open(fileobj=opened, mode="r:") as tar,
    ):
        for info in tar:
            key, _, extension = info.name.partition(".")
            modality = modality_of(extension.lower())
            if key in keys and modality and (file := tar.extractfile(info)):
                members[key, modality] = Member(file.read(), extension.lower(), path.name)
    return members


@dataclass(frozen=True)
class Shown:
    """A sample on the page. What is empty is not shown.

    Attributes:
        key: Its key.
        modality: What of it is shown.
        picture: data: URI of the picture, the spectrogram or the points.
        pixelated: Whether the picture is so small that its pixels should stay sharp.
        sound: data: URI of the sound.
        caption: Its text.
        note: Why something is not shown.
        place: Corpus, shard and key, by which `mcr serve` knows it; empty where it is in none.
    """

    key: str
    modality: str
    picture: str = ""
    pixelated: bool = False
    sound: str = ""
    caption: str = ""
    note: str = ""
    place: str = ""


class Gallery:
    """Turns members into what the page shows, within a budget of bytes.

    Args:
        members: By corpus, as `read_members` returns them.
        budget: Bytes of data: URIs that the page may hold.
    """

    def __init__(self, members: Mapping[str, Members], budget: int) -> None:
        self._members = members
        self._paint = Painter()
        self._left = budget
        self.left_out = 0

    def show(self, need: Need) -> Shown:
        """Show a sample."""
        key, modality = need.key, need.modality
        for corpus in need.corpora:
            members = self._members.get(corpus, {})
            if (key, modality) in members:
                caption = members.get((key, TEXT))
                text = caption.content.decode(errors="replace").strip() if caption else ""
                member = members[key, modality]
                shown = self._render(key, modality, member, text[:LARGEST_CAPTION])
                place = "/".join(quote(step, safe="") for step in (corpus, member.shard, key))
                return replace(shown, place=place if member.shard else "")
        return Shown(key, modality, note="not in the shards")

    def _render(self, key: str, modality: str, member: Member, caption: str) -> Shown:
        if modality == TEXT:
            return Shown(key, modality, caption=caption)
        try:
            shown_as = MODALITY_OF.get(member.extension.rpartition(".")[2]) if "." in member.extension else modality
            if shown_as == IMAGE:
                return self._picture(key, modality, member, caption)
            if modality == AUDIO:
                return self._sound(key, member, caption)
            if modality == POINT:
                return Shown(
                    key, modality, self._afford(data_uri(self._paint(POINT, member.content), "png")), caption=caption
                )
        except (SampleError, OSError, ValueError, RuntimeError, MemoryError) as error:
            log.warning("%s of %s cannot be shown: %s", modality, key, error)
            return Shown(key, modality, caption=caption, note="cannot be decoded")
        return Shown(key, modality, caption=caption, note=f"no preview for .{member.extension}")

    def _picture(self, key: str, modality: str, member: Member, caption: str) -> Shown:
        content, extension, small = member.content, member.extension.rpartition(".")[2], True
        if len(content) > LARGEST_PICTURE or extension not in TYPES:
            content, extension, small = self._paint(IMAGE, content), "jpg", False
        uri = self._afford(data_uri(content, extension))
        return Shown(key, modality, uri, small, caption=caption, note="" if uri else "left out: page budget")

    def _sound(self, key: str, member: Member, caption: str) -> Shown:
        picture = self._afford(data_uri(self._paint(AUDIO, member.content), "png"))
        sound = self._afford(data_uri(member.content, member.extension))
        note = "" if sound else "not playable here: page budget"
        return Shown(key, AUDIO, picture, True, sound, caption, note)

    def _afford(self, uri: str) -> str:
        if len(uri) > self._left:
            self.left_out += 1
            return ""
        self._left -= len(uri)
        return uri


def data_uri(content: bytes, extension: str) -> str:
    """`content` as a data: URI; decoding it gives `content` back."""
    return f"data:{TYPES[extension]};base64,{base64.b64encode(content).decode()}"
