"""Encoders that exist as ONNX graphs: against the same arithmetic in NumPy, and what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from PIL import Image
from torchvision import transforms

from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.onnx.graph import PROVIDERS
from pipeline.spaces.onnx.space import OnnxSpace
from pipeline.testing.conformance import SpaceConformance
from tests.spaces.onnx.make_graphs import LENGTH, MEAN, RATE, SECONDS, SIDE, STD, WORDS, save_space, weights
from tests.spaces.test_conformance import samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_space(tmp_path / "space")


def described(folder: Path, **changes: object) -> SpaceSpec:
    """The space with another description: a tower's fields changed, or the whole tower where it is None."""
    path = folder / "onnx.json"
    towers = json.loads(path.read_text())
    for name, change in changes.items():
        if isinstance(change, dict):
            towers[name] = {key: value for key, value in (towers.get(name, {}) | change).items() if value is not None}
        else:
            towers.pop(name)
    path.write_text(json.dumps(towers))
    return SpaceSpec("onnx", str(folder))


class TestOnnx(SpaceConformance):
    samples = samples("text", "image", "audio")
    precisions = ("fp32",)  # a graph computes in the types that it was exported with

    @pytest.fixture(autouse=True)
    def _runtime(self, request: pytest.FixtureRequest) -> None:
        """The package called onnxruntime, unlike onnxruntime-gpu, computes on CPUs only."""
        if request.node.get_closest_marker("cuda") and PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime cannot use a GPU")

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        request.cls.spec = SpaceSpec("onnx", str(save_space(tmp_path_factory.mktemp("onnx") / "space")))

    def alter(self, weights: Path) -> None:
        for path in weights.glob("*.onnx"):
            model = onnx.load(path)
            values = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
            values.flat[0] += 1e-3
            model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, model.graph.initializer[0].name))
            onnx.save(model, path)

    def test_a_gpu_gets_all_that_it_needs_and_rounds_no_product(self, space: object, modality: str) -> None:
        """Not so here: torch computes nothing. Without a build for CUDA the device is refused."""
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            with pytest.raises(UserError, match="cannot use the device cuda"):
                load_space(self.spec, "cuda")


def unit(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def test_text_is_the_mean_of_its_words(folder: Path) -> None:
    space = load_space(SpaceSpec("onnx", str(folder)))
    texts = ["a red ball", "ball ball unknown", "a " * 30]
    ids = [[WORDS.index(word if word in WORDS else "[UNK]") for word in text.split()][:LENGTH] for text in texts]
    expected = np.stack([weights()["words"].astype(float)[one].sum(0) / LENGTH for one in ids])
    found = space.encode("text", torch.stack([space.preprocess("text", text.encode()) for text in texts]))
    torch.testing.assert_close(found, unit(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (SIDE, SIDE), (16, 33), (9, 9)])
def test_pictures_are_prepared_as_torchvision_does(folder: Path, size: tuple[int, int]) -> None:
    space = load_space(SpaceSpec("onnx", str(folder)))
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    bicubic = transforms.InterpolationMode.BICUBIC
    steps = [
        transforms.Resize(SIDE, bicubic),
        transforms.CenterCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    expected = transforms.Compose(steps)(Image.open(buffer))
    found = space.preprocess("image", buffer.getvalue())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    rows = expected.numpy().reshape(1, -1).astype(float) @ weights()["pixels"] + weights()["bias"]
    torch.testing.assert_close(space.encode("image", found[None]), unit(rows), atol=1e-5, rtol=0)


def test_of_a_long_sound_the_middle_is_heard_and_a_short_one_is_followed_by_silence(folder: Path) -> None:
    space = load_space(SpaceSpec("onnx", str(folder)))
    length = round(RATE * SECONDS)
    for frames in (3 * length, length, length // 3):
        wave = np.random.default_rng(2).uniform(-0.5, 0.5, frames).astype(np.float32)
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, RATE, format="WAV", subtype="FLOAT")
        heard = wave[length : 2 * length] if frames > length else wave
        expected = np.concatenate([heard, np.zeros(length - len(heard))]).astype(np.float32)
        assert np.array_equal(space.preprocess("audio", buffer.getvalue()).numpy(), expected)


def test_a_modality_of_its_own_is_prepared_by_its_kind(folder: Path) -> None:
    depth = {"model": "image.onnx", "output": "embeds", "size": SIDE, "mean": MEAN, "std": STD}
    space = load_space(described(folder, depth=depth))
    assert "depth" in space.modalities and space.fingerprint("depth") == space.fingerprint("image")


def test_every_file_that_decides_is_named(folder: Path) -> None:
    spec = SpaceSpec("onnx", str(folder))
    names = {path.name for path in OnnxSpace.weight_files(spec)}
    assert names == {path.name for path in folder.iterdir()} and "image.onnx_data" in names
    before = load_space(spec).fingerprint("image")
    data = bytearray((folder / "image.onnx_data").read_bytes())
    data[5] ^= 1
    (folder / "image.onnx_data").write_bytes(data)
    assert load_space(spec).fingerprint("image") != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"model": "../image.onnx"}}, "image.model: String should match"),
        ({"image": {"sise": 3}}, "sise"),
        ({"image": {"size": None}}, "needs one of length"),
        ({"image": {"rate": 8000}}, "needs one of length"),
        ({"image": {"std": [1, 0, 1]}}, "std"),
        ({"image": {"output": None}}, "several outputs"),
        ({"image": {"output": "other"}}, "no output 'other'"),
        ({"image": {"model": "other.onnx"}}, "no graph"),
        ({"image": {"size": SIDE + 1}}, "cannot embed a batch"),
        ({"text": {"mask": None, "input": "ids"}}, "takes ids, mask, but gets ids"),
        ({"text": {"tokenizer": "onnx.json"}}, "is not a tokenizer"),
    ],
)
def test_a_description_that_does_not_fit_is_told_in_words(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_space(described(folder, **changes))


def _outside(folder: Path) -> None:
    model = onnx.load(folder / "image.onnx", load_external_data=False)
    (folder / "image.onnx_data").rename(folder.parent / "image.onnx_data")
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../image.onnx_data"
    (folder / "image.onnx").write_bytes(model.SerializeToString())


def _not_a_number(folder: Path) -> None:
    model = onnx.load(folder / "audio.onnx")
    values = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    values.flat[3] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "samples"))
    onnx.save(model, folder / "audio.onnx")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "onnx.json").unlink(), "has no onnx.json"),
        (lambda folder: (folder / "onnx.json").write_text("[]"), "it must map modalities"),
        (lambda folder: (folder / "onnx.json").write_text("{"), "cannot be used"),
        (lambda folder: (folder / "audio.onnx").write_bytes(b"no graph"), "is not an ONNX graph"),
        (lambda folder: (folder / "audio.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs"),
        (lambda folder: (folder / "image.onnx_data").unlink(), "is not an ONNX graph|image.onnx_data"),
        (lambda folder: (folder / "image.onnx_data").write_bytes(b"cut"), "is not an ONNX graph"),
        (_outside, "outside its folder"),
        (_not_a_number, "samples holds NaN"),
    ],
)  # fmt: skip
def test_damage_is_told_in_words(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        load_space(SpaceSpec("onnx", str(folder)))


def test_what_cannot_be_used_is_a_reject(folder: Path) -> None:
    space = load_space(SpaceSpec("onnx", str(folder)))
    buffer = io.BytesIO()
    Image.new("RGB", (1, 300)).save(buffer, "PNG")
    with pytest.raises(SampleError, match="100 times"):
        space.preprocess("image", buffer.getvalue())
