"""Files of a tokenizer are part of what a space is; the library's own tokenizer is named by its version."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.spaces import SpaceSpec, load_space
from tests.spaces.open_clip.test_open_clip import TEXT, save_folder, tiny
from tests.spaces.transformers.make_models import _siglip_tokenizer


def folder_of(path: Path) -> Path:
    """A folder as timm/ViT-B-16-SigLIP has it: OpenCLIP's configuration and weights, and a tokenizer.json."""
    path.mkdir()
    save_folder(path, tiny(), text_cfg={**TEXT, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP"})
    _siglip_tokenizer(path, length=24)
    return path


def text_of(path: Path) -> Any:
    return load_space(SpaceSpec("open_clip", str(path))).fingerprint("text")["preprocessing"]


def test_one_tokenizer_has_one_hash_wherever_it_lies_and_whatever_was_embedded(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a")
    second = Path(shutil.copytree(first, tmp_path / "b"))
    space = load_space(SpaceSpec("open_clip", str(first)))
    before = space.fingerprint("text")
    space.preprocess("text", b"a dog barks in the rain")  # the library sets lengths in the tokenizer at each call
    assert space.fingerprint("text") == before
    assert len(text_of(second)["tokenizer_sha256"]) == 64 and text_of(second) == before["preprocessing"]
    assert "tokenizer_sha256" not in space.fingerprint("image")["preprocessing"]


def _swap_words(content: dict[str, Any]) -> None:
    words = content["model"]["vocab"]
    words[3][0], words[4][0] = words[4][0], words[3][0]


def _keep_case(content: dict[str, Any]) -> None:
    content["normalizer"] = None


def _end_twice(content: dict[str, Any]) -> None:
    content["post_processor"]["single"] += content["post_processor"]["single"][-1:]


@pytest.mark.parametrize("change", [_swap_words, _keep_case, _end_twice])
def test_another_tokenizer_beside_the_same_weights_is_another_space(tmp_path: Path, change: Any) -> None:
    path = folder_of(tmp_path / "a")
    before = text_of(path)
    content = json.loads((path / "tokenizer.json").read_text())
    change(content)
    (path / "tokenizer.json").write_text(json.dumps(content))
    assert text_of(path)["tokenizer_sha256"] != before["tokenizer_sha256"]
    assert load_space(SpaceSpec("open_clip", str(path))).preprocess("text", b"A DOG").shape == (24,)


def test_the_librarys_own_tokenizer_has_no_hash(tmp_path: Path) -> None:
    """Embeddings from before stay valid."""
    save_folder(tmp_path, tiny())
    assert text_of(tmp_path) == {
        "tokenizer": "SimpleTokenizer", "truncate": "end", "context_length": 24, "vocab_size": 49408
    }  # fmt: skip
