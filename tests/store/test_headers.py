"""Listing a tar gives what `tarfile` gives, whoever wrote it and however it is damaged."""

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import CorruptError
from pipeline.store.headers import plain_headers
from pipeline.store.shards import list_shard

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
SIZES = (0, 1, 511, 512, 513, 3000)
Found = list[tuple[str, int, int]]


def put(archive: tarfile.TarFile, name: str, size: int, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(bytes(number % 251 for number in range(size))))


def plain(archive: tarfile.TarFile) -> None:
    for number, size in enumerate(SIZES):
        put(archive, f"k{number}.txt", size)


def long_names(archive: tarfile.TarFile) -> None:
    plain(archive)
    put(archive, f"{'folder/' * 20}k.txt", 700)
    put(archive, f"{'n' * 96}.txt", 5)  # as long as the field
    put(archive, "after.txt", 5)


def other_writing(archive: tarfile.TarFile) -> None:
    put(archive, "größe.txt", 9)
    put(archive, "times.txt", 9, mtime=1700000000.25, uid=2_000_000, uname="someone")
    put(archive, "later.txt", 600)


def old_files(archive: tarfile.TarFile) -> None:
    put(archive, "old.txt", 9, type=tarfile.AREGTYPE)
    put(archive, "contiguous.txt", 9, type=tarfile.CONTTYPE)
    put(archive, "later.txt", 9)


CONTENTS: list[Callable[[tarfile.TarFile], None]] = [plain, long_names, other_writing, old_files]


def by_tarfile(path: Path) -> Found | None:
    """Name, start and size of each member; None if there is one that is no file, or the tar is damaged."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = list(archive)
    except (tarfile.TarError, ValueError, EOFError):
        return None
    regular = all(member.isreg() and member.sparse is None and "." in member.name for member in members)
    return [(member.name, member.offset_data, member.size) for member in members] if regular else None


def ours(path: Path) -> Found | None:
    try:
        samples = list(list_shard(path))
    except CorruptError:
        return None
    return [(f"{one.key}.{ending}", *extent) for one in samples for ending, extent in one.members.items()]


def written(path: Path, form: str, content: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w", format=FORMATS[form]) as archive:
        content(archive)
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("content", CONTENTS)
def test_every_way_of_writing(tmp_path: Path, form: str, content: Callable[[tarfile.TarFile], None]) -> None:
    path = written(tmp_path / "a.tar", form, content)
    assert ours(path) == by_tarfile(path) != []


def test_ours_and_most_others_need_no_tarfile(tmp_path: Path) -> None:
    with open(written(tmp_path / "a.tar", "gnu", plain), "rb") as file:
        assert [header.size for header in plain_headers(file)] == list(SIZES)


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_named(tmp_path: Path, kind: bytes) -> None:
    def content(archive: tarfile.TarFile) -> None:
        plain(archive)
        put(archive, "odd.txt", 0, type=kind, linkname="k0.txt")
        put(archive, "later.txt", 9)

    with pytest.raises(CorruptError, match=r"member 'odd.txt' that is not a sample"):
        list(list_shard(written(tmp_path / "a.tar", "gnu", content)))


def test_an_old_folder_and_a_size_in_binary(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", "gnu", plain)
    whole = path.read_bytes()
    for change in (lambda block: b"k0.txt/" + block[7:156] + b"\0" + block[157:], lambda block: sized(block, b"\x80")):
        block = signed(change(whole[:512]))
        path.write_bytes(block + whole[512:])
        assert ours(path) == by_tarfile(path)


def sized(block: bytes, first: bytes) -> bytes:
    return block[:124] + first + bytes(11) + block[136:]


def signed(block: bytes) -> bytes:
    """With the sum of its bytes, as a header has it."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def test_a_size_that_is_no_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", "gnu", plain)
    whole = path.read_bytes()
    for size in (b"9", b"-7", b"x", b" ", b"1_0"):
        block = signed(whole[:124] + size.ljust(12, b"\0") + whole[136:512])
        path.write_bytes(block + whole[512:])
        assert ours(path) == by_tarfile(path), size


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_that_ends_anywhere(tmp_path: Path, form: str) -> None:
    whole = written(tmp_path / "whole.tar", form, long_names).read_bytes()
    path = tmp_path / "a.tar"
    for end in {*range(0, len(whole), 97), *(edge + off for edge in range(0, len(whole), 512) for off in (-1, 0, 1))}:
        path.write_bytes(whole[: max(end, 0)])
        assert ours(path) == by_tarfile(path), end


@pytest.mark.parametrize("sign", [False, True], ids=["", "and signed again"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_header_with_any_byte_changed(tmp_path: Path, form: str, sign: bool) -> None:
    whole, draw = written(tmp_path / "whole.tar", form, plain).read_bytes(), random.Random(0)
    path, places = tmp_path / "a.tar", range(0, 512)
    for place in places:
        for header in (0, 1024):  # of the first member, and of the third
            changed = bytearray(whole)
            changed[header + place] ^= draw.randrange(1, 256)
            if sign:
                changed[header : header + 512] = signed(bytes(changed[header : header + 512]))
            path.write_bytes(changed)
            assert ours(path) == by_tarfile(path), (header, place)
