"""A Hugging Face cache in miniature: the three tokenizers that laion_clap asks for, and a RoBERTa of one layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel

SENTENCES = ["a dog barks in the rain", "waves break on the shore", "someone plays a violin", "an engine starts"] * 8
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
REVISION = "0" * 40


def make_tokenizers(cache: Path) -> None:
    """Fill `cache`, laid out as the Hub's own; the weights are random, seeded, and small except for the width of 768."""
    roberta = _repository(cache, "roberta-base")
    vocabulary = byte_level(roberta)
    byte_level(_repository(cache, "facebook/bart-base"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (_repository(cache, "bert-base-uncased") / "vocab.txt").write_text("\n".join(words))
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=768,  # laion_clap's projection takes exactly this width
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(roberta)


@contextmanager
def offline_hub(home: Path) -> Iterator[None]:
    """Make `home` the Hugging Face home, for the library's sake offline; other tests may have imported transformers."""
    make_tokenizers(home / "hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(home))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(home / "hub"), raising=False)  # version 4
        yield


def _repository(cache: Path, name: str) -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    return snapshot


def byte_level(folder: Path) -> int:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES, vocab_size=331, special_tokens=SPECIAL, show_progress=False)
    tokenizer.save_model(str(folder))
    return tokenizer.get_vocab_size()
