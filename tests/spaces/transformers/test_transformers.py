"""Spaces of transformers against the library's own calls, on miniatures of CLIP, SigLIP and CLAP made here."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
import transformers
from PIL import Image
from torch import Tensor

from pipeline.decode.audio import decode_audio
from pipeline.errors import SampleError, UserError
from pipeline.spaces import SpaceSpec, load_space, weight_files
from pipeline.testing.conformance import SpaceConformance
from tests.spaces.test_conformance import payload, samples
from tests.spaces.transformers.make_models import make_clap, make_clip, make_siglip
from tests.spaces.weights.test_weight_files import POINTER_FILE, shard

TEXTS = ["a dog barks in the rain", "x", "an engine starts " * 40]
PIL = {"use_fast": False} if transformers.__version__.startswith("4.") else {"backend": "pil"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("transformers")
    make_clip(root / "clip")
    make_siglip(root / "siglip")
    make_clap(root / "clap")
    make_clap(root / "fused", fusion=True)
    return root


class _Conformance(SpaceConformance):
    made: Callable[[Path], Path]

    @pytest.fixture(scope="class", autouse=True)
    def _weights(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        request.cls.spec = SpaceSpec("transformers", str(type(self).made(tmp_path_factory.mktemp("x") / "model")))


class TestClip(_Conformance):
    made = staticmethod(make_clip)
    samples = samples("text", "image", count=4)


class TestSiglip(_Conformance):
    made = staticmethod(make_siglip)
    samples = samples("text", "image", count=4)


class TestClap(_Conformance):
    made = staticmethod(make_clap)
    samples = samples("text", "audio", count=3)


def ours(folder: Path, modality: str, *payloads: bytes) -> Tensor:
    space = load_space(SpaceSpec("transformers", str(folder)))
    return space.encode(modality, torch.stack([space.preprocess(modality, one) for one in payloads]))


def theirs(features: object) -> Tensor:
    pooled = features if isinstance(features, Tensor) else features.pooler_output  # type: ignore[attr-defined]
    return torch.nn.functional.normalize(pooled.detach(), dim=1)


@pytest.mark.parametrize("name", ["clip", "siglip", "clap", "fused"])
def test_texts_agree_with_the_library(folders: Path, name: str) -> None:
    folder = folders / name
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if name == "siglip" else True  # as its model card calls it
    length = 64 if name in ("clap", "fused") else None  # the model's; the tokenizer says 512, as the public one does
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=length, return_tensors="pt")
    expected = theirs(model.get_text_features(**tokens))
    torch.testing.assert_close(ours(folder, "text", *map(str.encode, TEXTS)), expected, atol=1e-5, rtol=0)
    assert torch.pdist(expected).min() > 1e-2


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_pictures_agree_with_the_library(folders: Path, name: str) -> None:
    folder = folders / name
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, **PIL)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (70, 50, 4), np.uint8)).save(buffer, "PNG")
    pictures = [payload("image", 0), payload("image", 7), buffer.getvalue()]
    opened = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    expected = theirs(model.get_image_features(**processor(images=opened, return_tensors="pt")))
    torch.testing.assert_close(ours(folder, "image", *pictures), expected, atol=1e-5, rtol=0)


def flac(seconds: float, seed: int) -> bytes:
    buffer = io.BytesIO()
    time = np.arange(round(seconds * 48_000)) / 48_000
    wave = 0.5 * np.sin(2 * np.pi * (300 + 200 * seed + 40 * time) * time)
    soundfile.write(buffer, wave + 0.01 * np.random.default_rng(seed).standard_normal(len(time)), 48_000, format="FLAC")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["clap", "fused"])
def test_sounds_within_the_window_agree_with_the_library(folders: Path, name: str) -> None:
    model = transformers.ClapModel.from_pretrained(folders / name).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folders / name)
    sounds = [flac(0.7, 1), flac(10, 2), flac(3.1, 3)]
    waves = [decode_audio(sound).wave for sound in sounds]
    made = extractor(waves, sampling_rate=48_000, return_tensors="pt")
    features = model.get_audio_features(input_features=made["input_features"].float(), is_longer=torch.zeros(3, 1) > 0)
    expected = theirs(features)
    torch.testing.assert_close(ours(folders / name, "audio", *sounds), expected, atol=1e-5, rtol=0)
    assert torch.pdist(expected).min() > 1e-2


def test_longer_sounds_are_cut_where_the_option_says(folders: Path) -> None:
    long, middle, first = flac(14, 4), io.BytesIO(), io.BytesIO()
    wave = decode_audio(long).wave
    soundfile.write(middle, wave[96_000:576_000], 48_000, format="WAV", subtype="FLOAT")
    soundfile.write(first, wave[:480_000], 48_000, format="WAV", subtype="FLOAT")
    for crop, part in (("center", middle), ("start", first)):
        space = load_space(SpaceSpec("transformers", str(folders / "clap"), options={"crop": crop}))
        assert torch.equal(space.preprocess("audio", long), space.preprocess("audio", part.getvalue()))


def test_a_fusion_model_hears_the_same_chunks_each_time_and_says_longer(folders: Path) -> None:
    space = load_space(SpaceSpec("transformers", str(folders / "fused")))
    state = np.random.get_state()[1].copy()
    long = space.preprocess("audio", flac(14, 5))
    np.random.seed(3)
    assert torch.equal(long, space.preprocess("audio", flac(14, 5))) and long[-1] == 1
    np.random.set_state(("MT19937", state, 624, 0, 0.0))
    assert space.preprocess("audio", flac(10.005, 5))[-1] == 0, "less than a frame longer"
    model = transformers.ClapModel.from_pretrained(folders / "fused").eval()
    features = model.get_audio_features(long[:-1].reshape(1, 4, 1001, 64), is_longer=torch.tensor([[True]]))
    torch.testing.assert_close(space.encode("audio", long[None]), theirs(features), atol=1e-5, rtol=0)


def test_shards_and_a_moved_folder_are_the_same_space(folders: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folders / "clip", tmp_path / "clip")
    weights = moved / "model.safetensors"
    shard(moved, safetensors.torch.load_file(weights))
    weights.unlink()
    torch.testing.assert_close(ours(moved, "text", b"a dog"), ours(folders / "clip", "text", b"a dog"))
    names = {path.name for path in weight_files(SpaceSpec("transformers", str(moved)))}
    assert names >= {"model.safetensors.index.json", "model-00002-of-00003.safetensors", "config.json", "vocab.json"}


def spoil(folder: Path, how: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    if how == "code":
        config["auto_map"] = {"AutoModel": "modeling.Mine"}
        (folder / "modeling.py").write_text("raise SystemExit('ran')")
    elif how == "pickled":
        torch.save(tensors, folder / "pytorch_model.bin")
        weights.unlink()
    elif how == "pointer":
        weights.write_bytes(POINTER_FILE)
    elif how == "lacking":
        tensors.pop("text_projection.weight")
        safetensors.torch.save_file(tensors, weights, {"format": "pt"})
    elif how == "reshaped":
        config["projection_dim"] = 20
    elif how == "decoder":
        config["architectures"] = ["GPT2LMHeadModel"]
    elif how == "no tokenizer":
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            (folder / name).unlink()
    elif how == "no processor":
        (folder / "preprocessor_config.json").unlink()
    (folder / "config.json").write_text("{" if how == "damaged" else json.dumps(config))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("code", "contains its own code"),
        ("pickled", r"has no model\.safetensors; a pickled file is not loaded"),
        ("pointer", "pointer of git-lfs"),
        ("lacking", r"does not fill CLIPModel: 1 tensors .*text_projection\.weight"),
        ("reshaped", "does not fill CLIPModel|cannot load"),
        ("decoder", "no contrastive model 'GPT2LMHeadModel'"),
        ("damaged", r"config\.json is damaged"),
        ("no tokenizer", "no usable tokenizer|is not the model's"),
        ("no processor", "no usable image processor"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folders: Path, tmp_path: Path, how: str, message: str) -> None:
    folder = shutil.copytree(folders / "clip", tmp_path / "clip")
    spoil(folder, how)
    with pytest.raises(UserError, match=message) as caught:
        load_space(SpaceSpec("transformers", str(folder)))
    assert caught.value.hint and len(caught.value.message) < 600


def test_another_models_tokenizer_is_refused(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "siglip", tmp_path / "siglip")
    for path in folder.glob("*token*"):
        path.unlink()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(folders / "clip" / name, folder / name)
    with pytest.raises(UserError, match="is not the model's"):
        load_space(SpaceSpec("transformers", str(folder)))


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", "owner/name@" + "g" * 40])
def test_a_hub_name_needs_its_commit(name: str) -> None:
    with pytest.raises(UserError, match="does not say which commit"):
        load_space(SpaceSpec("transformers", f"hf-hub:{name}"))


def test_a_strip_would_not_fit_into_memory(folders: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 3000)).save(buffer, "PNG")
    with pytest.raises(SampleError, match="over 100 times the other"):
        load_space(SpaceSpec("transformers", str(folders / "clip"))).preprocess("image", buffer.getvalue())


def relative(kind: str, folder: Path) -> None:
    """Another model with ``get_..._features``, on the tokenizer and the pictures of the small CLIP."""
    make_clip(folder)
    known = transformers.CLIPConfig.from_pretrained(folder)
    text, vision = known.text_config.to_dict(), known.vision_config.to_dict()
    for settings in (text, vision):
        settings.pop("model_type")
    if kind == "CLIPSegModel":
        config: object = transformers.CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=24)
    elif kind == "MetaClip2Model":
        config = transformers.MetaClip2Config(text_config=text, vision_config=vision, projection_dim=24)
    else:  # takes videos: several pictures at once
        config = transformers.XCLIPConfig(
            text_config=text, vision_config=vision | {"mit_hidden_size": 32}, projection_dim=24
        )
    torch.manual_seed(1)
    getattr(transformers, kind)(config).save_pretrained(folder, safe_serialization=True)


@pytest.mark.parametrize("kind", ["CLIPSegModel", "MetaClip2Model"])
def test_relatives_agree_with_the_library(kind: str, tmp_path: Path) -> None:
    relative(kind, tmp_path / "model")
    model = getattr(transformers, kind).from_pretrained(tmp_path / "model").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")(
        TEXTS[:2], padding=True, return_tensors="pt"
    )
    expected = theirs(model.get_text_features(**tokens))
    torch.testing.assert_close(
        ours(tmp_path / "model", "text", *map(str.encode, TEXTS[:2])), expected, atol=1e-5, rtol=0
    )
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model", **PIL)
    picture = payload("image", 3)
    pixels = processor(images=Image.open(io.BytesIO(picture)), return_tensors="pt")
    expected = theirs(model.get_image_features(**pixels))
    torch.testing.assert_close(ours(tmp_path / "model", "image", picture), expected, atol=1e-5, rtol=0)


def test_a_model_of_texts_and_videos_is_refused(tmp_path: Path) -> None:
    relative("XCLIPModel", tmp_path / "model")
    with pytest.raises(UserError, match="no contrastive model 'XCLIPModel'"):
        load_space(SpaceSpec("transformers", str(tmp_path / "model")))
