"""One raw file: whether it may go into a shard, and as which bytes."""

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pipeline.decode.signatures import named_format
from pipeline.errors import SampleError
from pipeline.files.foreign import HEAD_BYTES, foreign_text, is_pointer
from pipeline.hashing import seed_from
from pipeline.modalities import AUDIO, IMAGE, MODALITY_OF, POINT, TEXT
from pipeline.shard.limits import MAX_BYTES, MAX_DECLARED_BYTES, MAX_TEXT_BYTES

if TYPE_CHECKING:  # they need NumPy, which takes long to import, and parameters are read without it
    from pipeline.decode.isolated import Isolated


@dataclass(frozen=True)
class Conversion:
    """What is done to files on their way into a shard; everything else keeps its bytes.

    Attributes:
        max_side: Pixels to which the longer side of larger images is reduced; 0: images stay as they are.
        points: Points drawn from the surface of a mesh.
        seed: Base of the seeds of these draws.
    """

    max_side: int = 0
    points: int = 10_000
    seed: int = 0

    def fingerprint(self, modalities: tuple[str, ...]) -> dict[str, object]:
        """Everything that decides the bytes of converted files of `modalities`."""
        found: dict[str, object] = {}
        if IMAGE in modalities and self.max_side:
            from pipeline.shard.formats.images import image_fingerprint

            found[IMAGE] = image_fingerprint(self.max_side)
        if POINT in modalities:
            found[POINT] = {"points": self.points, "seed": self.seed}
        return found


_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_SOUNDS = (b"fLaC", b"OggS", b"ID3")
# Formats of which the first bytes are not telling enough: their headers are read.
_RARE_PICTURES = (b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_RARE_SOUNDS = (b"FORM", b".snd", b"riff\x2e\x91\xcf\x11", b"caff")


def check_member(modality: str, extension: str, content: bytes) -> None:
    """Refuse what can be seen to be useless or harmful without decoding it.

    Args:
        modality: What the file is taken for.
        extension: Of its name.
        content: Its bytes; one more than the limit of its modality if it is too long.

    Raises:
        SampleError: It is empty, too large, of another type, a pickle, or no UTF-8.
    """
    largest, extension = MAX_BYTES.get(modality, MAX_DECLARED_BYTES), extension.rpartition(".")[2]
    modality = modality if modality in MAX_BYTES else MODALITY_OF.get(extension, "")  # a declared one: by its format
    if not content.strip():
        raise SampleError("read", f"the {extension} file is empty")
    if modality == TEXT:
        _check_text(content)
    elif len(content) > largest:
        raise SampleError("read", f"the {extension} file has more than {largest} bytes")
    elif stands_for := is_pointer(content[:HEAD_BYTES]):
        raise SampleError("read", f"the {extension} file is {stands_for}")
    elif modality and not _looks_like(modality, extension, content):
        raise SampleError("read", f"the {extension} file does not hold {modality} data{named_format(content)}")
    elif extension == "npy":
        from pipeline.decode.clouds.npy import npy_header

        npy_header(content)


def _check_text(content: bytes) -> None:
    if len(content) > MAX_TEXT_BYTES:
        raise SampleError("read", f"the text has more than {MAX_TEXT_BYTES} bytes")
    if stands_for := is_pointer(content[:HEAD_BYTES]):
        raise SampleError("read", f"the text is {stands_for}")
    if b"\0" in content:
        instead = foreign_text(content[:HEAD_BYTES])
        raise SampleError("read", f"the text is {instead[0]}" if instead else "the text has NUL characters")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise SampleError("read", "the text is not UTF-8") from error


def _looks_like(modality: str, extension: str, content: bytes) -> bool:
    """Whether the first bytes are those of a known format of `modality`; names of pictures and sounds often lie
    about which."""
    riff = content[8:12] if content[:4] in (b"RIFF", b"RIFX", b"RF64") else b""
    if modality == IMAGE:
        if content.startswith(_RARE_PICTURES):
            return _has_header(modality, content)
        return content.startswith(_PICTURES) or riff == b"WEBP"
    if modality == AUDIO:
        if content.startswith(_RARE_SOUNDS):
            return _has_header(modality, content)
        if content.startswith(_SOUNDS) or riff == b"WAVE":
            return True
        # An MPEG frame begins with eleven set bits; before the first there may be anything.
        return extension == "mp3" or (content[0] == 0xFF and content[1:2] >= b"\xe0")
    magic = {"npy": b"\x93NUMPY", "ply": b"ply", "npz": b"PK", "glb": b"glTF"}.get(extension, b"")
    return content.startswith(magic)


def _has_header(modality: str, content: bytes) -> bool:
    """That the header of a picture or sound can be read, which is tried in a process of its own."""
    return _header_processes(os.getpid()).one((modality, content))


def _read_header(job: tuple[str, bytes]) -> bool:
    from pipeline.decode.audio import check_header
    from pipeline.decode.images import open_image

    modality, content = job
    if modality == IMAGE:
        open_image(content)
    else:
        check_header(content)
    return True


@cache
def _header_processes(_pid: int) -> "Isolated[tuple[str, bytes], bool]":
    from pipeline.decode.isolated import Isolated

    return Isolated(_read_header)


def convert_member(modality: str, extension: str, content: bytes, key: str, how: Conversion) -> tuple[str, bytes]:
    """Extension and bytes of a checked file in the shard.

    What has to be decoded for that is decoded in a process of its own: a file can make a decoder crash, hang, or ask for
    all memory.

    Raises:
        SampleError: The file had to be converted and cannot be decoded.
    """
    if not _is_converted(modality, extension, content, how):
        return extension, content
    return _processes(os.getpid()).one((modality, extension, content, key, how))


_Job = tuple[str, str, bytes, str, Conversion]


@cache
def _processes(_pid: int) -> "Isolated[_Job, tuple[str, bytes]]":
    """The processes that convert; a process that was forked from this one has others."""
    from pipeline.decode.isolated import Isolated

    return Isolated(_convert, os.cpu_count() or 1)


def _is_converted(modality: str, extension: str, content: bytes, how: Conversion) -> bool:
    from pipeline.shard.formats.meshes import has_faces

    if modality == IMAGE:
        return how.max_side > 0
    return modality == POINT and extension != "npy" and (extension != "ply" or has_faces(content))


def _convert(job: _Job) -> tuple[str, bytes]:
    modality, extension, content, key, how = job
    if modality == IMAGE:
        from pipeline.shard.formats.images import shrink

        return shrink(content, how.max_side) or (extension, content)
    return _convert_points(extension, content, key, how)


def _convert_points(extension: str, content: bytes, key: str, how: Conversion) -> tuple[str, bytes]:
    from pipeline.shard.formats.meshes import sample_mesh
    from pipeline.shard.formats.pcd import pcd_points
    from pipeline.shard.formats.points import npy_bytes, npz_points, xyz_points

    if extension == "xyz":
        return "npy", npy_bytes(xyz_points(content))
    if extension == "npz":
        return "npy", npy_bytes(npz_points(content))
    if extension == "pcd":
        return "npy", npy_bytes(pcd_points(content))
    return "npy", npy_bytes(sample_mesh(content, extension, how.points, seed_from(how.seed, key, "mesh")))
