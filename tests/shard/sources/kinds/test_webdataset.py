"""Foreign tars: what img2dataset writes, what it leaves half written, and what an attacker writes."""

import contextlib
import io
import json
import struct
import tarfile

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.shard.sources.readers.tar import TarDamage, scan_tar
from tests.shard.makers import picture, shards, tar


def record(number: int, **more: object) -> list[tuple[str, bytes]]:
    """A sample as img2dataset writes it."""
    key = f"{number:09d}"
    values = {"caption": f"caption {number}", "key": key, "status": "success", **more}
    return [
        (f"{key}.jpg", picture(number, "JPEG")),
        (f"{key}.json", json.dumps(values).encode()),
        (f"{key}.txt", f"caption {number}".encode()),
    ]


@pytest.fixture
def dataset(tmp_path):
    """Two tars with their sidecars; the third row of the first was never fetched."""
    folder = tmp_path / "cc3m"
    folder.mkdir()
    tar(folder / "00000.tar", record(0) + record(1))
    tar(folder / "00001.tar", record(10000))
    rows = pd.DataFrame(
        {"key": ["000000000", "000000001", "000000002"], "status": ["success"] * 2 + ["failed_to_download"]}
    )
    rows.to_parquet(folder / "00000.parquet")
    (folder / "00000_stats.json").write_text('{"count": 3}')
    return folder


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{00000..00001}.tar"])
def test_samples_of_a_folder_or_pattern(dataset, tmp_path, pattern):
    samples, rejected, _ = shards(f"{dataset}{pattern}", tmp_path / "out", "image", "text")
    assert {key: one["jpg"] for key, one in samples.items()} == {
        f"{number:09d}": picture(number, "JPEG") for number in (0, 1, 10000)
    }
    assert samples["000010000"]["txt"] == b"caption 10000"
    assert not rejected  # the row that failed is in the sidecar only: nothing is made of it


def test_one_modality_of_them(dataset, tmp_path):
    assert {frozenset(one) for one in shards(dataset, tmp_path / "a", "image")[0].values()} == {frozenset({"jpg"})}
    assert {frozenset(one) for one in shards(dataset, tmp_path / "b", "text")[0].values()} == {frozenset({"txt"})}


def test_captions_from_json_and_a_row_that_failed(tmp_path):
    source = tar(
        tmp_path / "x.tar",
        [
            ("a.json", b'{"caption": "in json", "alt": "other"}'),
            ("b.json", b'{"status": "failed_to_download", "caption": "none"}'),
            ("c.json", b"{"),
        ],
    )
    samples, rejected, _ = shards(source, tmp_path / "out", "text")
    assert samples == {"a": {"txt": b"in json"}}
    assert rejected == {"b": "its row says 'failed_to_download'", "c": "its .json cannot be read"}
    other, _, _ = shards(source, tmp_path / "out2", "text", options={"text_column": "alt"})
    assert other == {"a": {"txt": b"other"}}


def test_a_row_without_its_picture_is_rejected(tmp_path):
    source = tar(tmp_path / "x.tar", [*record(0), ("000000001.json", b'{"status": "success"}')])
    samples, rejected, _ = shards(source, tmp_path / "out", "image")
    assert list(samples) == ["000000000"]
    assert rejected == {"000000001": "the sample has no image"}


def special(kind: bytes, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    for name, value in values.items():
        setattr(info, name, value)
    return info


def test_crafted_members_are_rejected_rows(tmp_path):
    fine, out = picture(1), tmp_path / "two/folders/down/out"
    source = tar(
        tmp_path / "x.tar",
        [
            ("folder", special(tarfile.DIRTYPE)),
            ("fine.png", fine),
            ("link.png", special(tarfile.SYMTYPE, linkname="/etc/passwd")),
            ("hard.png", special(tarfile.LNKTYPE, linkname="fine.png")),
            ("device.png", special(tarfile.CHRTYPE, devmajor=1, devminor=5)),
            ("pipe.png", special(tarfile.FIFOTYPE)),
            ("../../escape.png", fine),
            ("/absolute.png", fine),
            ("n" * 300 + ".png", fine),
            ("twice.png", fine),
            ("twice.png", fine),
            ("both.png", fine),
            ("both.webp", picture(2, "WEBP")),
            ("half.png", fine),
            ("between.png", fine),
            ("half.txt", b"scattered"),
            ("./dotted.png", fine),
            ("sub/deep.png", fine),
            (".hidden.png", fine),
            ("README", b"no extension"),
            ("last.seg.png", fine),
        ],
    )
    out.parent.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    samples, rejected, manifest = shards(source, out, "image")
    assert {key.split("-")[0] for key in samples} == {*("fine", "between", "dotted", "sub_deep", "n" * 180, "last_seg")}
    reasons = {key.split("-")[0]: reason for key, reason in rejected.items()}
    assert {key for key, reason in reasons.items() if "not a regular file" in reason} == {
        "link",
        "hard",
        "device",
        "pipe",
    }
    assert "leads out" in reasons["_escape"] and "leads out" in reasons["_absolute"]
    assert "two members .png" in reasons["twice"] and "two members of image" in reasons["both"]
    assert "two places" in reasons["half"]
    assert manifest.not_read == {"hidden": 1, "no ending": 1}
    assert manifest.rows + manifest.rejected == 15
    assert {path for path in tmp_path.rglob("*") if out not in path.parents} - before == {out}


def test_sparse_members_are_not_inflated(tmp_path):
    info = tarfile.TarInfo("bomb.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000001000\0"  # one piece
    header[483:495] = b"77777777777\0"  # 8 GB when inflated
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + picture(1).ljust(512, b"\0") + bytes(1024))
    _, rejected, _ = reject_all(tmp_path)
    assert "sparse" in rejected["bomb"]


def reject_all(tmp_path):
    """Shards of x.tar beside one good tar, so that something is left."""
    tar(tmp_path / "good.tar", [("good.png", picture(9))])
    samples, rejected, manifest = shards(f"{tmp_path}/*.tar", tmp_path / "out", "image")
    assert "good" in samples
    return samples, rejected, manifest


@pytest.mark.parametrize("cut", [100, 512 * 9 + 10, 512 * 9, -1024])
def test_a_cut_tar_keeps_what_is_whole_and_says_so(tmp_path, cut):
    """Cut in the first header, within a member, between two members, and without the end mark."""
    path = tar(tmp_path / "x.tar", [(f"k{number}.png", b"\x89PNG\r\n\x1a\n".ljust(1024, b"x")) for number in range(6)])
    content = path.read_bytes()[: 6 * 1536]
    path.write_bytes(content[:cut] if cut > 0 else content)
    samples, rejected, _ = reject_all(tmp_path)
    assert len(samples) - 1 == {100: 0, 512 * 9 + 10: 3, 512 * 9: 3, -1024: 6}[cut]
    assert "damaged" in rejected["x.tar"]


def test_garbage_in_the_middle_is_not_taken_for_the_end(tmp_path):
    path = tar(tmp_path / "x.tar", [(f"k{number}.png", picture(number)) for number in range(6)])
    content = bytearray(path.read_bytes())
    content[2 * 1024 : 2 * 1024 + 300] = b"\xaa" * 300
    path.write_bytes(content)
    samples, rejected, _ = reject_all(tmp_path)
    assert set(samples) == {"good", "k0", "k1"}
    assert "no end mark" in rejected["x.tar"]


def crafted(size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header with a size of one's own."""
    info = tarfile.TarInfo("x.png")
    info.type = kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.DIRTYPE, b"S"])
@pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 10 + b"\xfe\x00", b"\x80" + b"\x7f" * 11, b"77777777777\0"])
def test_sizes_that_lead_backwards_or_far_beyond(kind, size):
    """Negative sizes once made tarfile go round in circles; huge ones make it ask for all memory."""
    found = []
    with contextlib.suppress(TarDamage):
        found.extend(scan_tar(io.BytesIO(crafted(size, kind) * 3 + bytes(1024))))
    assert len(found) <= 3
    assert all(member.directory or member.fault for member in found)  # nothing of it is read


def test_a_header_that_is_far_too_long_is_not_read():
    content = crafted(b"00050000000\0", tarfile.XHDTYPE) + b"1" * (10 << 20) + bytes(1024)
    with pytest.raises(TarDamage, match="a header of 10485760 bytes"):
        list(scan_tar(io.BytesIO(content)))


def test_damage_anywhere_ends_in_an_answer():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.png", "ü" * 120 + ".png"):
            info = tarfile.TarInfo(name)
            info.size = 100
            archive.addfile(info, io.BytesIO(b"x" * 100))
    whole = buffer.getvalue()[: 512 * 12]
    for seed in range(1500):
        position, value = struct.unpack("<HB", struct.pack("<I", seed * 2654435761 % 2**32)[:3])
        mutant = bytearray(whole)
        mutant[position % len(mutant)] = value
        with contextlib.suppress(TarDamage):
            assert len(list(scan_tar(io.BytesIO(bytes(mutant))))) < 10


def test_tars_beside_pictures_need_a_word(tmp_path):
    (tmp_path / "mix").mkdir()
    tar(tmp_path / "mix" / "x.tar", [("in.png", picture(1))])
    (tmp_path / "mix" / "out.png").write_bytes(picture(2))
    with pytest.raises(UserError, match="tars as well") as error:
        shards(tmp_path / "mix", tmp_path / "out", "image")
    assert "kind: webdataset" in error.value.hint
    assert list(shards(tmp_path / "mix", tmp_path / "a", "image", options={"kind": "webdataset"})[0]) == ["in"]
    assert list(shards(tmp_path / "mix", tmp_path / "b", "image", options={"kind": "folder"})[0]) == ["out"]


def test_the_same_key_in_two_tars_is_a_duplicate(tmp_path):
    tar(tmp_path / "a.tar", [("k.png", picture(1))])
    tar(tmp_path / "b.tar", [("k.png", picture(2))])
    with pytest.raises(UserError, match=r"a\.tar at byte 512 and .*b\.tar at byte 512"):
        shards(f"{tmp_path}/*.tar", tmp_path / "out", "image")
