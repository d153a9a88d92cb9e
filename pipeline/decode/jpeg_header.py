"""What the header of a JPEG says, read without a decoder: whether any decoder makes the same picture of the file.

After ITU-T T.81, annex B, for the two processes that nearly all files use.
"""

from typing import NamedTuple

_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
# Every start of a frame; tables have three numbers in between.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _APP14 = 0xDA, 0xEE
# Markers without a length, which have no place before the first scan.
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
_END = b"\xff\xd9"
_YCBCR_IDS = (1, 2, 3)
_YCBCR = 1  # in Adobe's segment


class JpegHeader(NamedTuple):
    """A JPEG with 8 bits, grey or YCbCr, baseline or progressive, that has an end.

    Attributes:
        width: In pixels.
        height: In pixels.
        scans: How often the decoder goes over the picture, over all of it at most. A baseline file may have many, too.
    """

    width: int
    height: int
    scans: int


def plain_jpeg(payload: bytes) -> JpegHeader | None:
    """The header of a file that every decoder of JPEG reads, and reads alike; None for all others, also where there is doubt.

    A cut file has no end-of-image marker as its last bytes, and is not one of them: some decoders fill up what is missing.
    """
    if not (payload.startswith(b"\xff\xd8\xff") and payload.endswith(_END)):
        return None
    size: tuple[int, int] | None = None
    place = 2
    try:
        while payload[place] == 0xFF:
            marker = payload[place + 1]
            length = payload[place + 2] << 8 | payload[place + 3]
            if marker == _SCAN:
                # The bytes of this marker occur nowhere in what is coded. Before, in the small picture that a camera adds.
                return JpegHeader(*size, payload.count(b"\xff\xda", place)) if size else None
            if marker in _FRAMES:
                size = None if size else _size(payload, marker, place + 4, length)
                if not size:
                    return None
            other_colours = (
                marker == _APP14 and payload[place + 4 : place + 9] == b"Adobe" and payload[place + 15] != _YCBCR
            )
            if other_colours or marker in _BARE or marker == 0xFF or length < 2:
                return None
            place += 2 + length
    except IndexError:  # it ends within its header
        pass
    return None


def _size(payload: bytes, marker: int, start: int, length: int) -> tuple[int, int] | None:
    """Width and height, after the frame whose segment, `length` bytes with those of its length, goes on at `start`."""
    bits, count = payload[start], payload[start + 5]
    if marker not in (_BASELINE, _PROGRESSIVE) or bits != 8 or count not in (1, 3) or length != 8 + 3 * count:
        return None
    # Sampled as usual: brightness in each pixel, colours there or in every second one.
    ids, sampling = payload[start + 6 : start + 6 + 3 * count : 3], payload[start + 7 : start + 7 + 3 * count : 3]
    if count == 3 and (
        tuple(ids) != _YCBCR_IDS or sampling[0] not in (0x11, 0x21, 0x22, 0x12) or sampling[1:] != b"\x11\x11"
    ):
        return None
    height, width = (payload[at] << 8 | payload[at + 1] for at in (start + 1, start + 3))
    return (width, height) if height * width else None
