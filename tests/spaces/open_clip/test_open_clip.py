"""What we do to OpenCLIP's models: cut padding that cannot matter, and refuse weights of another activation."""

import hashlib
import json
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.transformer import QuickGELU

from pipeline.errors import UserError
from pipeline.spaces import SpaceSpec, load_space
from pipeline.spaces.open_clip import activation as open_clip_activation
from pipeline.spaces.open_clip.text import TrimmedText

VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
TEXTS = ["a", "a red ball on a wooden table", "two dogs", "words " * 40]
# Relative to unit vectors. The sums are the same, in blocks of another size.
TOLERANCE = 1e-6


def tiny(custom: bool = False, **text: object) -> torch.nn.Module:
    torch.manual_seed(0)
    family = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = family(12, VISION, {**TEXT, **text}).eval().requires_grad_(False)
    for name, tensor in model.named_parameters():  # as they start, all texts look alike
        if "embedding" in name:
            tensor.normal_()
    return model


def tokens_of(texts: list[str], length: int = 24) -> torch.Tensor:
    return open_clip.SimpleTokenizer(context_length=length)(texts)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize(
    "text", [{}, {"pool_type": "eos", "eos_id": 49407}, {"proj_bias": True}, {"proj_type": "none"}]
)
def test_trimmed_texts_have_the_embeddings_of_whole_ones(custom: bool, text: dict[str, object]) -> None:
    model = tiny(custom, **text)
    trimmed = TrimmedText.of(model)
    assert trimmed
    seen: list[int] = []
    model.get_submodule("text.transformer" if custom else "transformer").register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0].shape[1])
    )
    for count, length in ((1, 3), (3, 9), (4, 24)):  # one more than the place of the last end token
        tokens = tokens_of(TEXTS[:count])
        expected = model.encode_text(tokens, normalize=True)
        found = torch.nn.functional.normalize(trimmed(tokens), dim=-1)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
        assert seen[-2:] == [24, length]
    assert (expected @ expected.T).fill_diagonal_(0).max() < 0.99, "the test tells texts apart"


def test_ids_after_the_end_may_be_anything() -> None:
    trimmed, tokens = TrimmedText.of(tiny()), tokens_of(["a red ball"])
    assert trimmed
    littered = tokens.clone()
    littered[:, 5:] = torch.arange(19)
    assert torch.equal(trimmed(littered), trimmed(tokens))


@pytest.mark.parametrize(
    "text", [{"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "first"}, {"embed_cls": True}]
)
def test_other_towers_are_left_alone(text: dict[str, object]) -> None:
    assert TrimmedText.of(tiny(custom=True, **text)) is None


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "MobileCLIP2-S0"])
def test_architectures_that_look_ahead_are_left_alone(name: str) -> None:
    config = open_clip.get_model_config(name)
    text = {**config["text_cfg"], "layers": 1, "width": 64, "heads": 2, "vocab_size": 100}
    text = {key: value for key, value in text.items() if not key.startswith("hf_")}
    assert TrimmedText.of(open_clip.CustomTextCLIP(12, VISION, text)) is None


def test_a_space_trims_and_agrees_with_the_library(tmp_path: Path) -> None:
    model = tiny()
    save_folder(tmp_path, model)
    space = load_space(SpaceSpec("open_clip", str(tmp_path)))
    batch = torch.stack([space.preprocess("text", text.encode()) for text in TEXTS])
    expected = model.encode_text(tokens_of(TEXTS), normalize=True)
    torch.testing.assert_close(space.encode("text", batch), expected, rtol=0, atol=TOLERANCE)


def test_vit_b_32_trimmed_has_the_embeddings_of_the_library() -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval().requires_grad_(False)
    trimmed, tokens = TrimmedText.of(model), tokens_of(TEXTS[:3], 77)
    assert trimmed
    expected = model.encode_text(tokens, normalize=True)
    found = torch.nn.functional.normalize(trimmed(tokens), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def save_folder(folder: Path, model: torch.nn.Module, **config: object) -> None:
    config = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT, **config}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")


@pytest.fixture
def architectures(tmp_path: Path) -> None:
    """Two tiny architectures that differ in their activation."""
    config = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "Tiny.json").write_text(json.dumps(config))
    (tmp_path / "configs" / "Tiny-quickgelu.json").write_text(json.dumps({**config, "quick_gelu": True}))
    open_clip.add_model_config(tmp_path / "configs")


def activations(space: object) -> set[bool]:
    return {isinstance(block.mlp.gelu, QuickGELU) for block in space.model.transformer.resblocks}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("model", "tag"), [("ViT-B-32", "openai"), ("ViT-L/14", "openai"), ("ViT-B-16", "dfn2b")])
def test_a_quick_gelu_tag_on_a_plain_model_is_refused_before_anything_is_fetched(
    model: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "create_model", None)
    with pytest.raises(UserError, match=r"trained with QuickGELU, and \S+ has plain GELU") as caught:
        load_space(SpaceSpec("open_clip", tag, model=model))
    assert f"Set the model to {model.replace('/', '-')}-quickgelu" in caught.value.hint


@pytest.mark.usefixtures("architectures")
def test_a_file_whose_name_says_openai_is_refused_for_a_plain_model_unless_the_user_decides(tmp_path: Path) -> None:
    path = tmp_path / "vit_openai.safetensors"
    safetensors.torch.save_file(tiny().state_dict(), path)
    with pytest.raises(UserError, match="going by their name") as caught:
        load_space(SpaceSpec("open_clip", str(path), model="Tiny"))
    assert "Tiny-quickgelu" in caught.value.hint and "force_quick_gelu: false" in caught.value.hint
    for model, options, quick in (
        ("Tiny-quickgelu", {}, True),
        ("Tiny", {"force_quick_gelu": True}, True),
        ("Tiny", {"force_quick_gelu": False}, False),
    ):
        assert activations(load_space(SpaceSpec("open_clip", str(path), model=model, options=options))) == {quick}


@pytest.mark.usefixtures("architectures")
def test_a_published_file_is_known_by_its_hash_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    torch.save(tiny().state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    load_space(SpaceSpec("open_clip", str(path), model="Tiny"))
    for address in (f"https://x/{digest}/B.pt", f"https://x/b-quickgelu-{digest[:8]}.pt"):
        tag = {"url": address, "quick_gelu": True}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-quickgelu", {"openai": tag})
        with pytest.raises(UserError, match=r"\(Tiny-quickgelu openai\) were trained with QuickGELU"):
            load_space(SpaceSpec("open_clip", str(path), model="Tiny"))


def test_the_hashes_in_open_clips_list_are_understood() -> None:
    openai = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    assert open_clip_activation.published(openai)[1] == "openai"
    assert open_clip_activation.published("d867053b" + "0" * 56)[1] == "laion400m_e31"
    assert open_clip_activation.published("0" * 64) == ("", "")


@pytest.mark.usefixtures("architectures")
def test_a_folder_and_a_model_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    save_folder(tmp_path, tiny())
    with pytest.raises(UserError, match=r"The model 'Tiny-quickgelu' has QuickGELU, and \S+ has plain GELU"):
        load_space(SpaceSpec("open_clip", str(tmp_path), model="Tiny-quickgelu"))
    save_folder(tmp_path, tiny(), quick_gelu=True)
    assert activations(load_space(SpaceSpec("open_clip", str(tmp_path), model="Tiny-quickgelu"))) == {True}


@pytest.mark.usefixtures("architectures")
def test_a_folder_with_nothing_but_weights_takes_the_model_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    torch.save(tiny().state_dict(), tmp_path / "clip" / "weights.pt")
    assert activations(load_space(SpaceSpec("open_clip", str(tmp_path / "clip"), model="Tiny-quickgelu"))) == {True}
    with pytest.raises(UserError, match="no open_clip_config.json"):
        load_space(SpaceSpec("open_clip", str(tmp_path / "clip")))


@pytest.mark.usefixtures("architectures")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(UserError, match="Missing key") as caught:
        load_space(SpaceSpec("open_clip", str(path), model="Tiny-quickgelu"))
    assert len(caught.value.message) < 500, "not all names of all weights"


@pytest.mark.usefixtures("architectures")
def test_a_wrong_hash_is_said_before_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pt").write_bytes(b"no weights")
    monkeypatch.setattr(open_clip, "create_model", None)
    with pytest.raises(UserError, match="SHA-256"):
        load_space(SpaceSpec("open_clip", str(tmp_path / "weights.pt"), model="Tiny", sha256="0" * 64))
