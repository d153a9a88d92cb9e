"""Raw files through shards into a store with the real encoders, against the libraries' own calls on the same files.

Offline, on the CPU, with random weights in the published layouts.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.encode.job import EncodeSettings, encode_corpus
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.ulip2.pointbert import PointBert
from pipeline.store import read_embeddings
from tests.spaces.laion_clap.make_tokenizers import offline_hub
from tests.spaces.laion_clap.test_laion_clap import NEEDS_LIBRARY, Pair, clip
from tests.spaces.open_clip.test_open_clip import save_folder, tiny
from tests.spaces.ulip2.test_pointbert import Reference
from tests.spaces.ulip2.test_ulip2 import part, random_tensors, save

Rows = dict[str, NDArray[np.float32]]
TOLERANCE = 1e-5
CAPTIONS = ["a red ball", "two dogs run over the wet grass", "x", "words " * 90, "naïve café — 東京"]


def through_a_store(spec: SpaceSpec, modality: str, raw: Path, work: Path) -> Rows:
    """The stored embedding of each file below `raw`, by key."""
    build_shards(raw, work / "shards", ShardSettings((modality,), 3, "error", 0.0), Silent())
    encode_corpus(load_space(spec), "real", spec, work / "shards", work / "store", EncodeSettings(2, 2, 0.0), Silent())
    keys, embeddings = read_embeddings([work / "store" / modality])
    return dict(zip(keys, embeddings, strict=True))


def assert_agree(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    ours, theirs = (np.stack([rows[key] for key in sorted(found)]) for rows in (found, expected))
    assert np.abs(ours - theirs).max() < TOLERANCE
    alike = theirs @ theirs.T - np.eye(len(theirs))
    assert alike.max() < 1 - 1e-4, "the test tells its files apart"


def write_pictures(folder: Path) -> None:
    folder.mkdir()
    for number, (size, kind) in enumerate(
        [((300, 220), "JPEG"), ((224, 224), "PNG"), ((90, 400), "WEBP"), ((31, 33), "PNG")]
    ):
        coarse = np.random.default_rng(number).integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(coarse).resize(size).save(folder / f"p{number}.{kind.lower()}", kind)
    # The library resizes these as they are, and makes them RGB afterwards.
    picture = Image.fromarray(coarse).resize((300, 200))
    picture.convert("P").save(folder / "palette.png")
    picture.convert("L").save(folder / "grey.jpg")
    picture.convert("1").save(folder / "bilevel.png")
    picture.putalpha(picture.convert("L").rotate(90))
    picture.save(folder / "transparent.png")


def write_captions(folder: Path) -> None:
    folder.mkdir()
    for number, caption in enumerate(CAPTIONS):
        (folder / f"c{number}.txt").write_text(caption)


def tiny_open_clip(folder: Path) -> tuple[SpaceSpec, str, str | None]:
    save_folder(folder, tiny())
    return SpaceSpec("open_clip", str(folder)), f"local-dir:{folder}", None


def vit_b_32(folder: Path) -> tuple[SpaceSpec, str, str | None]:
    """The real architecture, its random weights in a file as a training run leaves them."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32-quickgelu")
    path = folder / "epoch_32.pt"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}}, path)
    return SpaceSpec("open_clip", str(path), model="ViT-B-32-quickgelu"), "ViT-B-32-quickgelu", str(path)


# ViT-B-32: 13 s.
@pytest.mark.parametrize("make", [tiny_open_clip, pytest.param(vit_b_32, marks=pytest.mark.slow)])
def test_open_clip_rows_are_those_of_its_own_call(
    make: Callable[[Path], tuple[SpaceSpec, str, str | None]], tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    spec, name, pretrained = make(tmp_path / "weights")
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    write_pictures(tmp_path / "image")
    write_captions(tmp_path / "text")
    with torch.inference_mode():
        pictures = {
            path.stem: model.encode_image(transform(Image.open(path))[None], normalize=True)[0].numpy()
            for path in (tmp_path / "image").iterdir()
        }
        captions = {
            path.stem: model.encode_text(tokenizer([path.read_text()]), normalize=True)[0].numpy()
            for path in (tmp_path / "text").iterdir()
        }
    for modality, expected in {"image": pictures, "text": captions}.items():
        assert_agree(through_a_store(spec, modality, tmp_path / modality, tmp_path / f"work-{modality}"), expected)


@pytest.fixture
def clap(tmp_path: Path) -> Iterator[Pair]:
    with offline_hub(tmp_path / "huggingface"):
        (tmp_path / "clap").mkdir()
        yield Pair(tmp_path / "clap", fusion=False)


@NEEDS_LIBRARY
@pytest.mark.slow  # 14 s
def test_laion_clap_rows_are_those_of_its_own_call(clap: Pair, tmp_path: Path) -> None:
    write_captions(tmp_path / "text")
    with torch.no_grad():
        theirs = clap.theirs.get_text_embedding([caption.strip() for caption in CAPTIONS])
    captions = {f"c{number}": row for number, row in enumerate(theirs)}
    assert_agree(through_a_store(clap.spec, "text", tmp_path / "text", tmp_path / "work-text"), captions)

    sounds = tmp_path / "audio"
    sounds.mkdir()
    soundfile.write(sounds / "flac.flac", clip(3, 1), 48_000)
    soundfile.write(sounds / "stereo.wav", np.stack([clip(2, 2, 44_100), clip(2, 3, 44_100)], axis=1), 44_100)
    soundfile.write(sounds / "vorbis.ogg", clip(4, 4, 32_000), 32_000)
    soundfile.write(sounds / "layer3.mp3", clip(2, 5, 44_100), 44_100)
    soundfile.write(sounds / "exact.wav", clip(10, 6), 48_000)
    with torch.no_grad():
        paths = sorted(sounds.iterdir())
        theirs = clap.theirs.get_audio_embedding_from_filelist([str(path) for path in paths])
    expected = {path.stem: row for path, row in zip(paths, theirs, strict=True)}
    # Of a longer clip the library hears another 10 s at each call; here it is always the middle.
    soundfile.write(sounds / "long.flac", clip(17, 7), 48_000)
    whole, _ = soundfile.read(sounds / "long.flac", dtype="float32")
    with torch.no_grad():
        middle = whole[168_000 : 168_000 + 480_000]
        expected["long"] = clap.theirs.get_audio_embedding_from_data([middle])[0]
        thrown = [clap.theirs.get_audio_embedding_from_filelist([str(sounds / "long.flac")])[0] for _ in range(2)]
    found = through_a_store(clap.spec, "audio", sounds, tmp_path / "work-audio")
    assert_agree(found, expected)
    assert max(np.abs(one - found["long"]).max() for one in thrown) > 10 * TOLERANCE


@pytest.mark.slow  # 9 s
def test_pointbert_rows_are_those_of_the_formulas(tmp_path: Path) -> None:
    """PointBERT at full size (512 groups, 12 blocks) against float64 formulas, one cloud and one group at a time."""
    tensors = random_tensors()
    spec = SpaceSpec("ulip2", str(save(tmp_path, tensors)), options={"points": 2048})
    (tmp_path / "point").mkdir()
    tower = PointBert()
    tower.load_state_dict(part(tensors, "point_encoder."))
    reference, projection = Reference(tower), tensors["pc_projection"].double().numpy()
    expected: dict[str, Any] = {}
    for number, shape in enumerate([(1, 1, 1), (1, 0.3, 0.1), (0.2, 2, 0.7)]):
        generator = np.random.default_rng(number)
        points = (generator.standard_normal((2048, 3)) * shape + 5).astype(np.float32)
        (tmp_path / "point" / f"cloud{number}.{'ply' if number else 'npy'}").write_bytes(
            (ply if number else npy)(points)
        )
        centred = points.astype(np.float64) - points.astype(np.float64).mean(0)
        features = reference.features(centred / np.sqrt((centred**2).sum(1).max())) @ projection
        expected[f"cloud{number}"] = features / np.linalg.norm(features)
    assert_agree(through_a_store(spec, "point", tmp_path / "point", tmp_path / "work"), expected)


def npy(points: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, points)
    return buffer.getvalue()


def ply(points: NDArray[np.float32]) -> bytes:
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    return (header + "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n").encode() + points.tobytes()
