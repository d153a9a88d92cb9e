"""Point clouds and meshes of every format become the points that they hold."""

import io
import struct

import numpy as np
import pytest

from pipeline.decode.clouds.checks import MAX_POINTS
from pipeline.decode.clouds.npy import npy_header
from pipeline.errors import SampleError
from pipeline.shard.formats.lzf import inflate_lzf
from pipeline.shard.formats.meshes import has_faces, sample_mesh
from pipeline.shard.formats.pcd import pcd_points
from pipeline.shard.formats.points import npy_bytes, npz_points, xyz_points
from tests.shard.makers import bomb, cloud, mesh, npy, npz, shards

XYZ = cloud(1)
RGB = np.random.default_rng(2).integers(0, 256, (20, 3), np.uint8)


def pcd(kind: str, body: bytes, fields: str = "x y z rgb", count: int = 20) -> bytes:
    number = len(fields.split())
    header = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {'4 ' * number}\nTYPE {'F ' * number}\nCOUNT {'1 ' * number}\n"
    return (header + f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {kind}\n").encode() + body


def packed_colours() -> np.ndarray:
    """Blue, green, red from the lowest byte, as one float."""
    return np.column_stack([RGB[:, ::-1], np.zeros(20, np.uint8)]).copy().view(np.float32)


def test_pcd_binary_and_compressed():
    table = np.column_stack([XYZ, packed_colours()]).astype(np.float32)
    expected = np.column_stack([XYZ, RGB / 255])
    np.testing.assert_array_equal(pcd_points(pcd("binary", table.tobytes())), expected)
    columns = table.T.tobytes()
    literal = b"".join(
        bytes([len(piece) - 1]) + piece for piece in (columns[i : i + 32] for i in range(0, len(columns), 32))
    )
    body = struct.pack("<II", len(literal), len(columns)) + literal
    np.testing.assert_array_equal(pcd_points(pcd("binary_compressed", body)), expected)


def test_pcd_text_without_missing_points():
    rows = XYZ.copy()
    rows[3] = np.nan
    body = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in rows).encode()
    points = pcd_points(pcd("ascii", body, "x y z"))
    np.testing.assert_array_equal(points.astype(np.float32), np.delete(XYZ, 3, 0))


@pytest.mark.parametrize(
    "start", ["", "# x y z r g b\n", "//X Y Z R G B\n", "\r\n# a scan\r\n//X Y Z\r\n", "\ufeff", "\ufeff# x y z\n"]
)
def test_xyz_text_after_comments(start):
    text = io.StringIO()
    np.savetxt(text, np.column_stack([XYZ, RGB]), "%.9g")
    points = xyz_points((start + text.getvalue()).encode())
    np.testing.assert_allclose(points, np.column_stack([XYZ, RGB / 255]), rtol=1e-7)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"# x y z", b"20\n1 2 3", b"1 2 3\n# middle\n4 5 6", b"1 2 3 //X", b"x y z\n1 2 3"]
)
def test_xyz_text_that_is_no_rows(content):
    with pytest.raises(SampleError):
        xyz_points(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# .PCD\n",
        pcd("binary", b""),
        pcd("ascii", b"1 2 3"),
        pcd("ascii", b"a b c " * 20, "x y z"),
        pcd("zipped", b"x" * 1000),
        pcd("binary", b"x" * 1000, "u v w t"),
        pcd("binary", b"x" * 1000, count=10**12),
        pcd("binary_compressed", struct.pack("<II", 4, 320) + b"\xe0\xff\xff\xff"),
        pcd("binary_compressed", b"x" * 1000),
        pcd("binary", b"x" * 1000).replace(b"COUNT 1", b"COUNT -1"),
        pcd("binary", b"x" * 1000).replace(b"SIZE 4", b"SIZE 999999999"),
    ],
)
def test_damaged_pcd_is_a_reject(content):
    with pytest.raises(SampleError):
        pcd_points(content)


def test_lzf_repeats_what_it_refers_to():
    """`abc` then a reference that overlaps what it writes: length 9, 3 back."""
    assert inflate_lzf(b"\x02abc\xe0\x00\x02", 12) == b"abc" * 4
    for packed in (b"\xe0\x00\x02", b"\x02abc", b"\x02abc\x20"):
        with pytest.raises((ValueError, IndexError)):
            inflate_lzf(packed, 12)


def test_npz_with_known_single_and_coloured_arrays():
    np.testing.assert_array_equal(npz_points(npz(points=XYZ, normals=XYZ * 2)), XYZ)
    np.testing.assert_array_equal(npz_points(npz(anything=XYZ)), XYZ)
    np.testing.assert_allclose(npz_points(npz(xyz=XYZ, rgb=RGB)), np.column_stack([XYZ, RGB / 255]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bomb(), "swells"),
        (npz(points=np.array([{"a": 1}], object)), "pickle"),
        (npz(normals=XYZ, faces=XYZ), "without points"),
        (npz(points=XYZ)[:200], "damaged archive"),
        (npz(points=np.array(["a"])), "expected numbers"),
        (b"PK\x03\x04 nothing", "damaged archive"),
    ],
)
def test_bad_archives_are_rejects(content, reason):
    with pytest.raises(SampleError, match=reason):
        npz_points(content)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((3, 3), np.nan), "not finite"),
        (np.zeros((3, 4)), "shape"),
        (np.zeros(3), "shape"),
        (np.zeros((0, 3)), "without a single point"),
        (np.broadcast_to(np.float32(0), (MAX_POINTS + 1, 3)), "points, the limit"),
    ],
)
def test_no_cloud_is_a_reject(array, reason):
    with pytest.raises(SampleError, match=reason):
        npy_bytes(array)


@pytest.mark.parametrize(
    "content",
    [
        npy(np.array({"xyz": XYZ}, object), pickled=True),
        npy(XYZ)[:100],
        npy(XYZ)[:20],
        npy(XYZ).replace(b"(20, 3)", b"(-1, 3)"),
        npy(XYZ).replace(b"(20, 3),", b"(10**9),"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    ],
)
def test_headers_are_compared_with_what_is_there(content):
    with pytest.raises(SampleError):
        npy_header(content)


@pytest.mark.parametrize("kind", ["obj", "off", "glb", "ply"])
def test_meshes_are_sampled_evenly_from_their_surface(kind):
    points = sample_mesh(mesh(kind), kind, 20_000, seed=3)
    low, high = np.array([4, -0.5, -0.5]), np.array([6, 0.5, 0.5])
    assert points.shape == (20_000, 3)
    tolerance = 1e-5
    assert ((points > low - tolerance) & (points < high + tolerance)).all()
    on_side = np.minimum(abs(points - low), abs(points - high)) < tolerance
    assert on_side.any(axis=1).all()
    # The two ends have 1 x 1 of a surface of 10: one fifth of the points lies there.
    assert abs(on_side[:, 0].mean() - 0.2) < 0.015
    np.testing.assert_allclose(points.mean(axis=0), (5, 0, 0), atol=0.02)


def test_one_seed_gives_the_same_points_and_another_gives_others():
    one, again, other = (sample_mesh(mesh("off"), "off", 100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not (one == other).all(axis=1).any()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n", "off"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\nnan 1 0\n3 0 1 2\n", "off"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "off"),
        (b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "off"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n2 0 1\n", "off"),
        (b"v 0 0 0\nv 1 0 0\n", "obj"),
        (mesh("glb")[:300], "glb"),
        (b"glTF" + b"\xff" * 100, "glb"),
        (mesh("ply")[:200], "ply"),
    ],
)
def test_meshes_without_a_surface_are_rejects(content, kind):
    with pytest.raises(SampleError):
        sample_mesh(content, kind, 10, 0)


def test_a_mesh_cannot_name_other_files(tmp_path, monkeypatch):
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd /etc/passwd\n")
    content = b"mtllib " + str(tmp_path / "secret.mtl").encode() + b"\nusemtl a\n" + mesh("obj")
    opened: list[str] = []
    real = io.open
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k))
    sample_mesh(content, "obj", 10, 0)
    assert not [path for path in opened if "secret" in path or "passwd" in path]


def test_in_a_corpus_clouds_keep_their_bytes_and_the_rest_becomes_npy(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    plain = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
    files = {
        "a.npy": npy(XYZ),
        "b.ply": plain,
        "c.npz": npz(points=XYZ),
        "d.pcd": pcd("binary", XYZ.tobytes(), "x y z"),
    }
    meshes = {f"{kind}-mesh.{kind}": mesh(kind) for kind in ("ply", "obj", "off", "glb")}
    for name, content in (files | meshes).items():
        (folder / name).write_bytes(content)
    samples, rejected, manifest = shards(folder, tmp_path / "out", "point")
    assert not rejected and not has_faces(plain) and has_faces(mesh("ply"))
    assert samples["a"] == {"npy": npy(XYZ)} and samples["b"] == {"ply": plain}
    for key in "cd":
        np.testing.assert_array_equal(np.load(io.BytesIO(samples[key]["npy"])), XYZ)
    drawn = {key: np.load(io.BytesIO(samples[key.partition(".")[0]]["npy"])) for key in meshes}
    assert all(points.shape == (10_000, 3) for points in drawn.values())
    assert len({points.tobytes() for points in drawn.values()}) == 4  # each mesh has a seed of its own
    assert manifest.fingerprint["convert"] == {"point": {"points": 10_000, "seed": 0}}
