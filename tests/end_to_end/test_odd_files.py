"""Odd files from the raw folder to the store: the embedding is that of the library's own call on the right picture."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.progress import Silent
from pipeline.shard.members import Conversion
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import PointSettings
from pipeline.store import read_embeddings
from tests.shard.makers import npy, npz, shards
from tests.spaces.open_clip.test_open_clip import save_folder, tiny

GENERATOR = np.random.default_rng(5)
COARSE = Image.fromarray(GENERATOR.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
OTHER = Image.fromarray(GENERATOR.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
GREY = np.asarray(COARSE.convert("L"))
CLEAR = np.dstack([np.asarray(COARSE), (np.arange(160) > 80) * np.full((120, 1), 255, np.uint8)]).astype(np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def wide(kind: str = "PNG", **options: Any) -> bytes:
    """The grey picture with 16 bits."""
    return saved(Image.fromarray(GREY.astype(np.uint16) * 257), kind, **options)


def deep_colours() -> bytes:
    """A PNG of three times 16 bits, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = np.asarray(COARSE).astype(">u2") * 257
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", 160, 120, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def several(kind: str, **options: Any) -> bytes:
    return saved(COARSE, kind, save_all=True, append_images=[OTHER.copy()], **options)


# Name of the file: its bytes, and the picture that the library is given; None: the file as Pillow opens it.
PICTURES: dict[str, tuple[bytes, Image.Image | None]] = {
    "gray16.png": (wide(), Image.fromarray(GREY)),
    "gray16-scan.tiff": (wide("TIFF"), Image.fromarray(GREY)),
    "gray16-packed.tif": (wide("TIFF", compression="tiff_lzw"), Image.fromarray(GREY)),
    "rgb48.png": (deep_colours(), COARSE),
    "gray8.png": (saved(Image.fromarray(GREY), "PNG"), None),
    "alpha.png": (saved(Image.fromarray(CLEAR), "PNG"), None),
    "alpha-web.webp": (saved(Image.fromarray(CLEAR), "WEBP", lossless=True, exact=True), None),
    "alpha-grey.png": (saved(Image.fromarray(np.dstack([GREY, CLEAR[..., 3]])), "PNG"), None),
    "palette-clear.png": (saved(COARSE.quantize(64), "PNG", transparency=0), None),
    "palette.gif": (saved(COARSE.quantize(64), "GIF"), None),
    "turned.jpg": (saved(COARSE, "JPEG", exif=TURNED), None),
    "turned-p.png": (saved(COARSE, "PNG", exif=TURNED), None),
    "turned-w.webp": (saved(COARSE, "WEBP", exif=TURNED), None),
    "mpo.jpg": (several("MPO"), None),
    "anim.webp": (several("WEBP", lossless=True), COARSE),
    "apng.png": (several("PNG"), COARSE),
    "anim-g.gif": (several("GIF"), None),
    "pages.tif": (several("TIFF"), COARSE),
    "a-gif.jpg": (saved(COARSE, "GIF"), None),
    "a-jpeg.png": (saved(COARSE, "JPEG"), None),
    "a-webp.jpeg": (saved(COARSE, "WEBP"), None),
    "inks.jpg": (saved(COARSE.convert("CMYK"), "JPEG"), None),
    "phone.JFIF": (saved(COARSE, "JPEG"), None),
    "scan.bmp": (saved(COARSE, "BMP"), COARSE),
    "bits.png": (saved(Image.fromarray(GREY > 127), "PNG"), None),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, SpaceSpec]:
    """A model that tells pictures apart."""
    model = tiny()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for name, tensor in model.named_parameters():
            if name.startswith("visual") and tensor.ndim > 1:
                tensor.normal_(std=tensor[0].numel() ** -0.5)
    folder = tmp_path_factory.mktemp("clip")
    save_folder(folder, model)
    return model, SpaceSpec("open_clip", str(folder))


def library(model: torch.nn.Module, picture: Image.Image) -> np.ndarray:
    """OpenCLIP's own preprocessing and call."""
    transform = image_transform_v2(PreprocessCfg(size=32), is_train=False)
    with torch.no_grad():
        return model.encode_image(transform(picture)[None], normalize=True)[0].numpy()


def embedded(raw: Path, out: Path, modality: str, spec: SpaceSpec, **conversion: Any) -> tuple[dict, dict]:
    """Embeddings of the files in `raw` by key, and the reasons of rejects."""
    _, rejected, _ = shards(raw, out / "shards", modality, conversion=Conversion(**conversion))
    settings = EncodeSettings(4, 1, 0.999)
    made = encode_corpus(load_space(spec), "s", spec, out / "shards", out / "store", settings, Silent())
    rejected |= {one.key: one.message for part in made[modality][0].parts for one in part.rejected}
    return dict(zip(*read_embeddings([out / "store" / modality]), strict=True)), rejected


@pytest.mark.parametrize("max_side", [0, 100])
def test_pictures_look_to_a_space_as_they_do_to_the_library(clip, tmp_path: Path, max_side: int) -> None:
    model, spec = clip
    (tmp_path / "raw").mkdir()
    for name, (content, _) in PICTURES.items():
        (tmp_path / "raw" / name).write_bytes(content)
    found, rejected = embedded(tmp_path / "raw", tmp_path, "image", spec, max_side=max_side)
    assert not rejected and len(found) == len(PICTURES)
    for name, (content, picture) in PICTURES.items():
        expected = library(model, picture or Image.open(io.BytesIO(content)))
        similar = float(found[name.rpartition(".")[0]] @ expected)
        assert similar > (0.97 if max_side else 1 - 1e-5), name
    white, other = Image.new("RGB", (160, 120), "white"), library(model, OTHER)
    for wrong in (library(model, white), other):
        assert library(model, COARSE) @ wrong < 0.8, "the test tells pictures apart"


XYZ = GENERATOR.standard_normal((400, 3)).astype(np.float32)
RGB = GENERATOR.integers(0, 256, (400, 3))


def ply(kind: str, colours: np.ndarray) -> bytes:
    """Points in single precision with colours of the type `kind`."""
    types = {"uchar": "u1", "ushort": "<u2", "float": "<f4", "double": "<f8"}
    table = np.empty(len(XYZ), [(a, "<f4") for a in "xyz"] + [(n, types[kind]) for n in ("red", "green", "blue")])
    for at, name in enumerate(table.dtype.names or ()):
        table[name] = np.column_stack([XYZ, colours])[:, at]
    lines = [f"element vertex {len(XYZ)}", *(f"property float {a}" for a in "xyz")]
    lines += [f"property {kind} {name}" for name in ("red", "green", "blue")]
    return "\n".join(["ply", "format binary_little_endian 1.0", *lines, "end_header\n"]).encode() + table.tobytes()


CLOUDS = {
    "ref.npy": npy(np.column_stack([XYZ, RGB / 255]).astype(np.float32)),
    "rgb255.npy": npy(np.column_stack([XYZ, RGB]).astype(np.float32)),
    "rgb255-double.npy": npy(np.column_stack([XYZ, RGB]).astype(np.float64)),
    "npz_f255.npz": npz(xyz=XYZ, rgb=RGB.astype(np.float32)),
    "npz_bytes.npz": npz(xyz=XYZ, rgb=RGB.astype(np.uint8)),
    "npz_points.npz": npz(points=XYZ, colors=RGB.astype(np.uint16) * 257),
    "p_f255.ply": ply("float", RGB),
    "p_double.ply": ply("double", RGB / 255),
    "p_ushort.ply": ply("ushort", RGB * 257),
    "rows.xyz": "\n".join(" ".join(map(repr, row)) for row in np.column_stack([XYZ, RGB]).tolist()).encode(),
}
NO_COLOURS = {
    "normals.npy": npy(np.column_stack([XYZ, XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)]).astype(np.float32)),
    "minus_one.npy": npy(np.column_stack([XYZ, RGB / 127.5 - 1]).astype(np.float32)),
    "minus_128.npz": npz(xyz=XYZ, rgb=(RGB - 128.0).astype(np.float32)),
    "tenfold.ply": ply("float", RGB / 25.5),
}


def test_colours_of_every_scale_are_the_same_cloud_and_normals_are_none(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        save_compact(tmp_path, CompactModel(12, {"point": PointSettings()}))
    (tmp_path / "raw").mkdir()
    for name, content in (CLOUDS | NO_COLOURS).items():
        (tmp_path / "raw" / name).write_bytes(content)
    found, rejected = embedded(tmp_path / "raw", tmp_path, "point", SpaceSpec("compact", str(tmp_path)))
    assert set(rejected) == {name.rpartition(".")[0] for name in NO_COLOURS}
    assert all("colours" in reason for reason in rejected.values())
    for key, vector in found.items():
        np.testing.assert_allclose(vector, found["ref"], atol=1e-5, err_msg=key)
    black = load_space(SpaceSpec("compact", str(tmp_path)))
    dark = black.encode("point", black.preprocess("point", npy(np.column_stack([XYZ, 0 * RGB])))[None])[0].numpy()
    assert dark @ found["ref"] < 0.99, "the test sees colours"
