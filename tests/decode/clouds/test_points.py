"""Point clouds: colours on one scale, no normals among them, and headers that are not believed."""

import io
import tracemalloc

import numpy as np
import pytest

from pipeline.decode.clouds.points import decode_points
from pipeline.errors import SampleError
from pipeline.shard.formats.pcd import pcd_points
from pipeline.shard.formats.points import npy_bytes, npz_points, xyz_points
from tests.shard.makers import mesh, npy, npz, shards

GENERATOR = np.random.default_rng(0)
XYZ = GENERATOR.standard_normal((50, 3)).astype(np.float32)
RGB = GENERATOR.integers(0, 256, (50, 3))
EXPECTED = np.column_stack([XYZ, RGB / 255]).astype(np.float32)
NORMALS = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)


def ply(kind: str, colours: np.ndarray, form: str = "binary_little_endian", names: str = "red green blue") -> bytes:
    order = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}[form]
    types = {"uchar": "u1", "ushort": "u2", "short": "i2", "uint": "u4", "float": "f4", "double": "f8"}
    fields = [(axis, f"{order}f4") for axis in "xyz"] + [(name, order + types[kind]) for name in names.split()]
    table = np.empty(len(XYZ), fields)
    for number, axis in enumerate("xyz"):
        table[axis] = XYZ[:, number]
    for number, name in enumerate(names.split()):
        table[name] = colours[:, number]
    header = (
        f"ply\nformat {form} 1.0\nelement vertex {len(XYZ)}\n"
        + "property float x\nproperty float y\nproperty float z\n"
    )
    header += "".join(f"property {kind} {name}\n" for name in names.split()) + "end_header\n"
    if form != "ascii":
        return header.encode() + table.tobytes()
    return header.encode() + b"".join(" ".join(map(str, row)).encode() + b"\n" for row in table.tolist())


def npz_of(**arrays: np.ndarray) -> np.ndarray:
    return decode_points(npy_bytes(npz_points(npz(**arrays))))


@pytest.mark.parametrize(
    "points",
    [
        lambda: decode_points(npy(np.column_stack([XYZ, RGB / 255]))),
        lambda: decode_points(npy(np.column_stack([XYZ, RGB]).astype(np.float32))),
        lambda: decode_points(npy(np.asfortranarray(np.column_stack([XYZ, RGB])))),
        lambda: npz_of(xyz=XYZ, rgb=RGB.astype(np.uint8)),
        lambda: npz_of(xyz=XYZ, rgb=RGB.astype(np.float32)),
        lambda: npz_of(xyz=XYZ, rgb=RGB.astype(np.uint16) * 257),
        lambda: npz_of(xyz=XYZ, rgb=(RGB / 255).astype(np.float32)),
        lambda: decode_points(npy_bytes(xyz_points("\n".join(" ".join(map(repr, row)) for row in np.column_stack([XYZ, RGB]).tolist()).encode()))),
        *(lambda kind=kind, form=form: decode_points(ply(kind, RGB, form)) for kind in ("uchar", "ushort", "short", "uint", "float", "double") for form in ("ascii", "binary_big_endian")),
        lambda: decode_points(ply("ushort", RGB * 257)),
        lambda: decode_points(ply("float", RGB / 255, names="r g b")),
        lambda: decode_points(ply("double", RGB / 255)),
    ],
)  # fmt: skip
def test_colours_of_every_scale_lie_between_0_and_1(points):
    np.testing.assert_allclose(points(), EXPECTED, atol=1e-6)


@pytest.mark.parametrize(
    "colours",
    [NORMALS, RGB / 127.5 - 1, RGB - 128.0, RGB / 255 * 5, RGB * 1e4, np.full((50, 3), 0.5) - 0.6],
    ids=["normals", "from -1", "from -128", "up to 5", "millions", "below 0"],
)
def test_what_is_no_colour_is_refused(colours):
    files = [
        lambda: decode_points(npy(np.column_stack([XYZ, colours]).astype(np.float32))),
        lambda: npz_of(xyz=XYZ, rgb=colours.astype(np.float32)),
        lambda: decode_points(ply("float", colours)),
        lambda: decode_points(npy_bytes(npz_points(npz(points=np.column_stack([XYZ, colours]))))),
    ]
    for read in files:
        with pytest.raises(SampleError, match="colours"):
            read()


def test_normals_with_names_of_their_own_are_no_colours():
    np.testing.assert_array_equal(decode_points(ply("float", NORMALS, names="nx ny nz")), XYZ)
    np.testing.assert_array_equal(npz_of(points=XYZ, normals=NORMALS), XYZ)


def test_rounding_errors_of_colours_are_kept():
    nearly = np.column_stack([XYZ, np.clip(RGB / 255, 0, 1) + 1e-6]).astype(np.float32)
    np.testing.assert_array_equal(decode_points(npy(nearly)), nearly)


def test_text_needs_little_more_memory_than_its_numbers():
    rows = 200_000
    header = f"ply\nformat ascii 1.0\nelement vertex {rows}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    content = header.encode() + b"0.25 -1.5 3\n" * rows
    tracemalloc.start()
    points = decode_points(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(points, np.broadcast_to(np.float32([0.25, -1.5, 3]), (rows, 3)))
    assert peak < 4 * points.nbytes, "tuples of Python numbers would take twenty times as much"


HEADERS = {
    "ascii": b"ply\nformat ascii 1.0\nelement vertex 9999999\nproperty float x\nproperty float y\nproperty float z\nend_header\n",
    "binary": b"ply\nformat binary_little_endian 1.0\nelement vertex 9999999\nproperty double x\nproperty double y\nproperty double z\nend_header\n",
    "npy": npy(np.zeros((1, 3))).replace(b"(1, 3)", b"(9999999, 3)")[:-5],
    "line": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n" + b"1 " * 100_000,
    "fields": b"ply\nformat ascii 1.0\nelement vertex 1\n" + b"".join(b"property float f%d\n" % n for n in range(900)) + b"end_header\n" + b"1 " * 900,
    "pcd": b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nPOINTS 9999999\nDATA ascii\n1 2 3\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_a_count_in_a_header_is_compared_with_the_bytes_before_anything_is_allocated(kind):
    tracemalloc.start()
    with pytest.raises(SampleError):
        (pcd_points if kind == "pcd" else decode_points)(HEADERS[kind])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize("points", [1, 2, 5])
def test_few_points_are_a_cloud(points):
    np.testing.assert_array_equal(decode_points(npy(XYZ[:points])), XYZ[:points])


@pytest.mark.parametrize(
    "content", [b"", b"3\ncomment\nC 0 0 0\n", b"1 2\n3 4\n", b"1 2 3\n4 5\n", b"1 2 3\nnan 1 1\n", b"1 2 3 0 0 -1\n"]
)
def test_bad_xyz_files(content):  # fmt: skip
    with pytest.raises(SampleError):
        xyz_points(content)


def test_stl_and_xyz_become_clouds_in_a_shard(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "box.stl").write_bytes(mesh("stl"))
    (folder / "text.stl").write_bytes(mesh("stl_ascii"))
    (folder / "cut.stl").write_bytes(mesh("stl")[:200])
    (folder / "rows.xyz").write_text("\n".join(" ".join(map(repr, row)) for row in XYZ.tolist()))
    samples, rejected, _ = shards(folder, tmp_path / "out", "point")
    assert set(rejected) == {"cut"}
    np.testing.assert_array_equal(np.load(io.BytesIO(samples["rows"]["npy"])), XYZ)
    for key in ("box", "text"):
        points = decode_points(samples[key]["npy"])
        np.testing.assert_allclose(points.mean(axis=0), (5, 0, 0), atol=0.03)
