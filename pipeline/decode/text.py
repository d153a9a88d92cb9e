"""The bytes of one file as text."""

from pipeline.errors import SampleError

MAX_TEXT_BYTES = 1_000_000


def decode_text(payload: bytes) -> str:
    """The text of a UTF-8 file without the white space around it.

    Raises:
        SampleError: Not UTF-8, empty, or longer than `MAX_TEXT_BYTES`.
    """
    if len(payload) > MAX_TEXT_BYTES:
        raise SampleError("decode", f"text of {len(payload)} bytes, the limit is {MAX_TEXT_BYTES} bytes")
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise SampleError("decode", f"text is not UTF-8 at byte {error.start}") from None
    if not text:
        raise SampleError("decode", "text without a character")
    return text
