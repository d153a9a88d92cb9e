"""Files of which earlier versions of the decoders made something else, so that what was made from them is out of date.

A fingerprint with the version of the decoders would make every store stale for the sake of a few odd files. Instead each
part of a store records the version; a part of an earlier one is kept unless one of its files is decoded otherwise now.
"""

from pipeline.decode.audio import check_header, decode_audio
from pipeline.decode.clouds.npy import MAGIC, read_npy
from pipeline.decode.clouds.points import decode_points
from pipeline.decode.images import open_image
from pipeline.errors import SampleError
from pipeline.modalities import AUDIO, IMAGE, POINT

# Raise it when the same bytes are decoded to something else, and say below which bytes.
VERSION = 1


def decoded_otherwise(modality: str, payload: bytes, rejected: bool) -> bool:
    """Whether version 0 made something else of a file.

    Args:
        modality: Of the file.
        payload: The file.
        rejected: Whether version 0 could not decode it.
    """
    look = {IMAGE: _image, AUDIO: _audio, POINT: _points}.get(modality)
    if look is None:
        return False
    try:
        return look(payload) or rejected
    except SampleError:
        return not rejected


def _image(payload: bytes) -> bool:
    return open_image(payload).mode.startswith("I;16")


def _audio(payload: bytes) -> bool:
    if payload.startswith(b"fLaC"):
        return False
    return len(decode_audio(payload).wave) != check_header(payload)


def _points(payload: bytes) -> bool:
    points = decode_points(payload)
    if points.shape[1] == 3:
        return False
    if payload.startswith(MAGIC):
        return bool((points != read_npy(payload).astype(points.dtype)).any())
    return b"property uchar red" not in payload[:65_536]
