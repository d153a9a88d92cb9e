"""What a file is that is not what its name says: a pointer, an error page, an archive, another encoding."""

HEAD_BYTES = 4096
_UNPACK = "Unpack it, and name what was in it."
_FETCH = "Fetch the file again."
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the file itself",
        "Run `git lfs pull` where it comes from, and copy it again.",
    ),
    (b"/annex/objects/", "a git-annex pointer, not the file itself", "Run `git annex get` where it comes from."),
    (b"PK\x03\x04", "a ZIP archive (or .xlsx)", _UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", _FETCH),
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"%PDF-", "a PDF document", "Save what it shows in a format that is read."),
    (b"PAR1", "a Parquet file", "Name it .parquet."),
    (b"ARROW1", "an Arrow file", "Save it as Parquet."),
    (b"SQLite format 3\0", "an SQLite database", "Export the table as .csv or .parquet."),
    (b"\xd0\xcf\x11\xe0", "a document of an old Office", "Save it as .csv in UTF-8."),
    (b"\x89HDF", "an HDF5 file", "Save its content in a format that is read."),
)
_SAVE = "Save it as UTF-8."


def foreign(head: bytes) -> tuple[str, str] | None:
    """What a file is instead of data, and what to do about it, from its first bytes; None if nothing is known.

    Formats that are data in the right place (ZIP as .npz, Parquet) are named as well: ask where they are not expected.
    """
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return what, hint
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:256].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page, such as the error or login page of a download", _FETCH
    if start.startswith(b"<?xml") and b"<error>" in head.lower():
        return "an XML error message of a download", _FETCH
    if head[257:262] == b"ustar":
        return "a tar archive", "Name it .tar."
    return None


def foreign_text(head: bytes) -> tuple[str, str] | None:
    """What a file is that cannot be read as UTF-8 text, and what to do about it."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32 text", _SAVE
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16 text", _SAVE
    # Latin letters in UTF-16 are every second byte.
    for odd in (0, 1):
        half = head[odd::2]
        if len(half) >= 8 and half.count(0) > 0.6 * len(half) and not head[1 - odd :: 2].count(0):
            return "UTF-16 text without a byte order mark", _SAVE
    return foreign(head)


def is_pointer(head: bytes) -> str:
    """What stands for a file that was never fetched, or for an error page; empty for anything else."""
    found = foreign(head)
    return found[0] if found and ("pointer" in found[0] or "page" in found[0] or "message" in found[0]) else ""
