"""The families of this project keep the protocol (see conformance.py), and what is particular to the light ones."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import soundfile
import torch
from PIL import Image

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.compact.space import CompactModel, resample, save_compact
from pipeline.spaces.compact.towers import AudioSettings, ImageSettings, PointSettings, TextSettings, mel_filters
from pipeline.testing.conformance import SpaceConformance
from tests.spaces.laion_clap.make_tokenizers import offline_hub
from tests.spaces.laion_clap.test_laion_clap import NEEDS_LIBRARY, Pair
from tests.spaces.open_clip.test_jpeg import picture
from tests.spaces.ulip2.test_ulip2 import random_tensors, save

TINY_CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def payload(modality, number=0):
    generator = np.random.default_rng(number)
    buffer = io.BytesIO()
    if modality == "text":
        return f"a red ball number {number}".encode()
    if modality == "image":
        Image.fromarray(generator.integers(0, 255, (32 + number, 40, 3), dtype=np.uint8)).save(buffer, "PNG")
    elif modality == "audio":
        soundfile.write(buffer, generator.uniform(-1, 1, 5000 + number), 8000, format="FLAC")
    else:
        np.save(buffer, generator.random((90 + number, 3 if number % 2 else 6)))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("spaces")
    torch.manual_seed(0)
    vocabulary = ("a", "red", "ball", "number", *map(str, range(10)))
    towers = {
        "text": TextSettings(vocabulary),
        "image": ImageSettings(),
        "audio": AudioSettings(),
        "point": PointSettings(),
    }
    save_compact(root / "compact", CompactModel(12, towers))
    (root / "open_clip").mkdir()
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}}
    (root / "open_clip" / "open_clip_config.json").write_text(json.dumps(config))
    weights = open_clip.CLIP(**TINY_CLIP).state_dict()
    safetensors.torch.save_file(weights, root / "open_clip" / "open_clip_model.safetensors")
    return root


@pytest.fixture(scope="module")
def space_of(folders):
    spaces = {family: load_space(SpaceSpec(family, str(folders / family))) for family in ("compact", "open_clip")}
    return spaces.__getitem__


def samples(*modalities: str, count: int = 6) -> dict[str, list[bytes]]:
    return {modality: [payload(modality, number) for number in range(count)] for modality in modalities}


class TestCompact(SpaceConformance):
    samples = samples("text", "image", "audio", "point")

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, folders: Path) -> None:
        request.cls.spec = SpaceSpec("compact", str(folders / "compact"))


class TestOpenClip(SpaceConformance):
    samples = samples("text", "image")

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, folders: Path) -> None:
        request.cls.spec = SpaceSpec("open_clip", str(folders / "open_clip"))


class TestOpenClipDecodesByTorchvision(SpaceConformance):
    samples = samples("text") | {"image": [picture(40 + 7 * number, 50) for number in range(6)]}

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, folders: Path) -> None:
        request.cls.spec = SpaceSpec("open_clip", str(folders / "open_clip"), options={"jpeg": "device"})


@NEEDS_LIBRARY
@pytest.mark.slow  # 40 s
class TestLaionClap(SpaceConformance):
    samples = samples("text", "audio", count=3)

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with offline_hub(tmp_path_factory.mktemp("huggingface")):
            request.cls.spec = Pair(tmp_path_factory.mktemp("clap"), fusion=False).spec
            yield


@pytest.mark.slow  # 50 s
class TestUlip2(SpaceConformance):
    samples = samples("text", "image", "point", count=3)

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = save(tmp_path_factory.mktemp("ulip"), random_tensors())
        request.cls.spec = SpaceSpec("ulip2", str(path), options={"points": 512})


def test_open_clip_prepares_pictures_as_its_own_transform_does(folders, space_of):
    space = space_of("open_clip")
    name = f"local-dir:{folders / 'open_clip'}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    for number in (0, 9):
        raw = payload("image", number)
        with torch.inference_mode():
            expected = model.encode_image(transform(Image.open(io.BytesIO(raw)))[None], normalize=True)
        torch.testing.assert_close(space.encode("image", space.preprocess("image", raw)[None]), expected)
        text = model.encode_text(open_clip.get_tokenizer(name)(["a red ball"]), normalize=True)
        torch.testing.assert_close(space.encode("text", space.preprocess("text", b"a red ball")[None]), text.detach())


def test_an_open_clip_file_loads_for_a_named_architecture(folders, tmp_path, space_of):
    (tmp_path / "Tiny-Test.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path)
    weights = folders / "open_clip" / "open_clip_model.safetensors"
    space = load_space(SpaceSpec("open_clip", str(weights), model="Tiny-Test"))
    ids = space.preprocess("text", b"a red ball")[None]
    assert torch.equal(space.encode("text", ids), space_of("open_clip").encode("text", ids))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SpaceSpec("open_clip", "/nowhere"), "no model is given"),
        (SpaceSpec("open_clip", "/nowhere/x.pt", model="RN50"), "no checkpoint"),
        (SpaceSpec("open_clip", "no_such_tag", model="RN50"), "cannot load"),
        (SpaceSpec("compact", "/nowhere"), "has no config.json"),
    ],
)
def test_a_missing_checkpoint_is_told_in_words(spec, message):
    with pytest.raises(UserError, match=message):
        load_space(spec)


def test_a_folder_without_weights_is_not_loaded_at_random(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    with pytest.raises(UserError, match=r"has no open_clip_model.safetensors"):
        load_space(SpaceSpec("open_clip", str(tmp_path)))


def test_resampling_keeps_a_tone():
    time = np.arange(4410) / 44100
    tone = resample(np.sin(2 * np.pi * 440 * time).astype(np.float32), 44100, 8000)
    assert len(tone) == 800
    np.testing.assert_allclose(tone, np.sin(2 * np.pi * 440 * np.arange(800) / 8000), atol=1e-3)


def test_every_mel_filter_hears_something():
    filters = mel_filters(32, 129, 8000)
    assert (filters >= 0).all() and (filters.sum(1) > 0).all()
    assert (filters.argmax(1).diff() >= 0).all()
