"""LZF, the compression of PCD files."""

_LITERALS = 32


def inflate_lzf(packed: bytes, size: int) -> bytes:
    """The `size` bytes that `packed` stands for.

    A control byte below 32 is followed by that many plus one plain bytes; a larger one says how far back and how long
    the bytes are that come again.

    Raises:
        ValueError: `packed` does not give exactly `size` bytes.
    """
    plain = bytearray()
    at = 0
    while at < len(packed) and len(plain) <= size:
        control = packed[at]
        at += 1
        if control < _LITERALS:
            plain += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        start = len(plain) - ((control & 31) << 8) - packed[at] - 1
        at += 1
        if start < 0:
            raise ValueError("a reference before the start")
        length += 2
        while length > 0:
            # The bytes referred to may overlap those that are being written.
            piece = plain[start : start + length]
            plain += piece
            start += len(piece)
            length -= len(piece)
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes instead of {size}")
    return bytes(plain)
