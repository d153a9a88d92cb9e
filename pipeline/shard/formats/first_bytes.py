"""Formats of pictures, sounds and point clouds by their first bytes; names often lie about them."""

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b".snd", "au"),
    (b"caff", "caf"),
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"\x93NUMPY", "npy"),
    (b"ply\n", "ply"),
    (b"ply\r", "ply"),
)
_INNER = {b"WEBP": "webp", b"WAVE": "wav", b"AIFF": "aiff", b"AIFC": "aifc"}


def format_of(head: bytes) -> str:
    """The usual ending of the format that `head` begins; empty if it is none that is known."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM") and head[8:12] in _INNER:
        return _INNER[head[8:12]]
    if found := next((ending for start, ending in _STARTS if head.startswith(start)), ""):
        return found
    # An MPEG frame begins with eleven set bits.
    return "mp3" if len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0 else ""
