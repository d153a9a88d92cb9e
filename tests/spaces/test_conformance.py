"""Every space family keeps the protocol: unit norm, the same twice and in any batch, errors for bad bytes."""

import io
import json

import numpy as np
import open_clip
import pytest
import safetensors.torch
import soundfile
import torch
from PIL import Image

from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.compact import CompactModel, resample, save_compact
from pipeline.spaces.compact_towers import AudioSettings, ImageSettings, PointSettings, TextSettings, mel_filters

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


CASES = [("compact", modality) for modality in ("text", "image", "audio", "point")] + [
    ("open_clip", modality) for modality in ("text", "image")
]


@pytest.fixture(scope="module")
def space_of(folders):
    spaces = {family: load_space(SpaceSpec(family, str(folders / family))) for family in ("compact", "open_clip")}
    return spaces.__getitem__


@pytest.mark.parametrize(("family", "modality"), CASES)
def test_a_space_keeps_the_protocol(family, modality, space_of):
    space = space_of(family)
    batch = torch.stack([space.preprocess(modality, payload(modality, number)) for number in range(6)])
    embeddings = space.encode(modality, batch)
    assert embeddings.shape == (6, space.dimension) == (6, 12)
    assert embeddings.dtype == torch.float32 and not embeddings.requires_grad
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    assert torch.equal(space.encode(modality, batch), embeddings)
    single = torch.cat([space.encode(modality, one[None]) for one in batch])
    assert (single - embeddings).abs().max() < 1e-5
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-4


@pytest.mark.parametrize(("family", "modality"), CASES)
@pytest.mark.parametrize("bad", [b"", b"\xff\x00 nonsense"])
def test_bad_bytes_are_a_sample_error(family, modality, bad, space_of):
    with pytest.raises(SampleError):
        space_of(family).preprocess(modality, bad)


@pytest.mark.parametrize(("family", "modality"), CASES)
def test_the_fingerprint_is_json_and_changes_with_the_weights(family, modality, folders, tmp_path, space_of):
    fingerprint = space_of(family).fingerprint(modality)
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    for path in (folders / family).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spec = SpaceSpec(family, str(tmp_path))
    assert load_space(spec).fingerprint(modality) == fingerprint
    weights = next(tmp_path.glob("*.safetensors"))
    tensors = safetensors.torch.load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] += 1e-3
    safetensors.torch.save_file(tensors, weights)
    assert load_space(spec).fingerprint(modality) != fingerprint


@pytest.mark.parametrize("family", ["compact", "open_clip"])
def test_precision_and_expected_hash(family, folders, space_of):
    half = load_space(SpaceSpec(family, str(folders / family), precision="bf16"))
    ids = half.preprocess("text", payload("text"))[None]
    torch.testing.assert_close(half.encode("text", ids), space_of(family).encode("text", ids), atol=0.05, rtol=0)
    assert half.fingerprint("text") != space_of(family).fingerprint("text")
    with pytest.raises(UserError, match="SHA-256"):
        load_space(SpaceSpec(family, str(folders / family), sha256="0" * 64))
    with pytest.raises(UserError, match="precision"):
        load_space(SpaceSpec(family, str(folders / family), precision="int3"))
    with pytest.raises(UserError, match="option"):
        load_space(SpaceSpec(family, str(folders / family), options={"zoom": 2}))


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
