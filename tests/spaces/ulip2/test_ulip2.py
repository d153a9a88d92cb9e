import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from torchvision import transforms

from pipeline.errors import SampleError, UserError
from pipeline.spaces import Space, SpaceSpec, load_space
from pipeline.spaces.ulip2 import pointbert
from pipeline.spaces.ulip2.pointbert import PointBert
from pipeline.spaces.ulip2.space import Ulip2Towers, prepare_image
from pipeline.testing.fake_cuda import encode_on_fake_cuda

WINDOW = 3_000_000


def random_tensors() -> dict[str, Tensor]:
    """Weights for all towers. Each tensor is a window on one small buffer, so that the file stays small."""
    generator = torch.Generator().manual_seed(0)
    weights = 0.03 * torch.randn(WINDOW, generator=generator)
    positive = 0.5 + torch.rand(4096, generator=generator)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Ulip2Towers().state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        size = shape.numel()
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            tensors[name] = positive[number : number + size]
        elif size > WINDOW // 2:
            width = shape[-1] if len(shape) == 2 else shape[1:].numel()
            rows = (WINDOW - width) // shape[0]
            tensors[name] = weights.as_strided((shape[0], width), (rows, 1)).view(shape)
        else:
            start = 7919 * number % (WINDOW - size)
            tensors[name] = weights[start : start + size].view(shape)
    return tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors()


def save(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """A file as ULIP publishes them."""
    path = folder / "pointbert_ULIP-2.pt"
    state = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"epoch": 9, "state_dict": state, "args": Namespace(model="ULIP_PointBERT", npoints=8192)}, path)
    return path


def spec(path: Path, precision: str = "fp32", **options: str | int | float | bool) -> SpaceSpec:
    return SpaceSpec("ulip2", str(path), precision=precision, options={"points": 600, **options})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor]) -> Path:
    return save(tmp_path_factory.mktemp("ulip"), tensors)


@pytest.fixture(scope="module")
def space(checkpoint: Path) -> Space:
    return load_space(spec(checkpoint))


def cloud_file(points: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    generator = np.random.default_rng(seed)
    np.save(buffer, (generator.standard_normal((points, 3)) * generator.uniform(0.1, 1, 3)).astype(np.float32))
    return buffer.getvalue()


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def test_point_tower_is_pointbert_and_its_projection(
    space: Space, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointbert, "GROUPS", 64)  # the full size is held to the formulas in test_pointbert.py
    batch = torch.stack([space.preprocess("point", cloud_file(points, points)) for points in (600, 450, 2000)])
    assert batch.shape == (3, 600, 3)
    tower = PointBert().eval().requires_grad_(False)
    tower.load_state_dict(part(tensors, "point_encoder."))
    expected = normalize(tower(batch) @ tensors["pc_projection"], dim=-1)
    torch.testing.assert_close(space.encode("point", batch), expected, rtol=1e-5, atol=1e-6)


def test_a_gpu_gets_all_that_it_needs_and_rounds_no_product(space: Space, checkpoint: Path) -> None:
    """Points here; pictures and texts are among the slow conformance tests."""
    rows, watch = encode_on_fake_cuda(spec(checkpoint), "point", space.preprocess("point", cloud_file(700))[None])
    assert rows.shape == (1, 512)
    assert watch.products and not watch.loose


def test_image_tower_is_timms_vit(space: Space, tensors: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()
    picture(300, 260).save(buffer, "PNG")
    batch = space.preprocess("image", buffer.getvalue())[None]
    tower = timm.create_model("vit_base_patch16_224", num_classes=0).eval().requires_grad_(False)
    tower.load_state_dict(part(tensors, "visual."))
    expected = normalize(tower(batch) @ tensors["image_projection"], dim=-1)
    torch.testing.assert_close(space.encode("image", batch), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(300, 260), (231, 900), (224, 224), (97, 64)])
def test_pictures_are_prepared_as_by_torchvision(size: tuple[int, int]) -> None:
    steps = [
        transforms.Resize(224),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    image = picture(*size)
    torch.testing.assert_close(prepare_image(image), transforms.Compose(steps)(image))


def test_strips_are_rejected_before_they_grow() -> None:
    with pytest.raises(SampleError, match="100 times"):
        prepare_image(Image.new("RGB", (1, 101)))


def test_text_tower_is_open_clips(space: Space, tensors: dict[str, Tensor]) -> None:
    texts = ["A chair", "the quick brown fox, 3 times!", "word " * 200]
    batch = torch.stack([space.preprocess("text", text.encode()) for text in texts])
    torch.testing.assert_close(batch, open_clip.tokenize(texts))
    tower = TextTransformer(width=512, heads=8, layers=12, output_dim=512, act_layer=QuickGELU).eval()
    names = tower.state_dict().keys() - {"attn_mask"}
    tower.load_state_dict({name: tensors[name] for name in names}, strict=False)
    with torch.inference_mode():
        expected = normalize(tower(batch), dim=-1)
    torch.testing.assert_close(space.encode("text", batch), expected, rtol=1e-5, atol=1e-6)
    assert (expected @ expected.T)[0, 1:].max() < 0.99


def test_a_file_gives_the_same_cloud_each_time_and_other_content_another(space: Space) -> None:
    first = cloud_file(1000)
    torch.testing.assert_close(space.preprocess("point", first), space.preprocess("point", first), rtol=0, atol=0)
    with pytest.raises(SampleError):
        space.preprocess("point", first[:100])


def test_half_precision_stays_close(checkpoint: Path, space: Space) -> None:
    rounded = load_space(spec(checkpoint, "bf16"))
    batch = space.preprocess("text", b"a cat")[None]
    embedding = rounded.encode("text", batch)
    assert embedding.dtype == torch.float32
    assert float((embedding * space.encode("text", batch)).sum()) > 0.999
    assert rounded.fingerprint("text") != space.fingerprint("text")


def test_fingerprint_names_what_changes_each_modality(checkpoint: Path, space: Space) -> None:
    other = load_space(spec(checkpoint, points=700, sampling="farthest", normalisation="box"))
    assert space.fingerprint("point") != other.fingerprint("point")
    assert space.fingerprint("image") == other.fingerprint("image")
    assert space.fingerprint("text") == other.fingerprint("text")
    written: dict[str, Any] = json.loads(json.dumps(other.fingerprint("point")))
    assert written["preprocessing"]["points"] == 700
    assert written["preprocessing"]["sampling"] == "farthest"
    assert written["preprocessing"]["normalisation"].startswith("box")
    assert len(written["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("point_encoder.encoder.first_conv.0.weight", (128, 6, 1), "6 channels: coordinates and colours"),
        ("pc_projection", (768, 1280), "1280 dimensions: it is aligned with OpenCLIP ViT-bigG/14"),
        ("point_encoder.encoder.first_conv.0.weight", None, "not a PointBERT"),
        ("visual.norm.weight", None, "1 missing .visual.norm.weight"),
        ("text_projection", (512, 256), "text_projection"),
    ],
)
def test_other_releases_are_named(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...] | None, said: str
) -> None:
    changed = {key: tensor for key, tensor in tensors.items() if key != name}
    if shape:
        changed[name] = torch.zeros(shape)
    with pytest.raises(UserError, match=said):
        load_space(spec(save(tmp_path, changed)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": 511}, "points is 511"),
        ({"points": True}, "points"),
        ({"sampling": "grid"}, "grid"),
        ({"crop": 3}, "crop"),
    ],
)
def test_wrong_options_are_said_before_the_file_is_read(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_space(SpaceSpec("ulip2", "nowhere.pt", options=options))


@pytest.mark.parametrize(("change", "said"), [({"precision": "fp8"}, "fp8"), ({"model": "pointmlp"}, "pointmlp")])
def test_wrong_precision_and_model_are_named(change: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_space(SpaceSpec("ulip2", "nowhere.pt", **change))  # type: ignore[arg-type]
