"""Models of transformers in miniature, random and seeded, in folders laid out as the hub's repositories are."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.spaces.laion_clap.make_tokenizers import SENTENCES, byte_level

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def make_clip(folder: Path) -> Path:
    """As openai/clip-vit-base-patch32: byte pairs that end words, shorter side and centre crop."""
    start, end = _clip_tokenizer(folder)
    text = TEXT | {"vocab_size": end + 1, "max_position_embeddings": 40, "bos_token_id": start, "eos_token_id": end}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION | {"patch_size": 8}, projection_dim=24)
    _save(transformers.CLIPModel, config, folder)
    picture = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    return _preprocessor(folder, "CLIPImageProcessor", picture | {"resample": 3, "do_convert_rgb": True})


def make_siglip(folder: Path) -> Path:
    """As google/siglip2-base-patch16-224: a tokenizer.json, texts padded to a fixed length, no mask, squashed pictures."""
    vocabulary = _siglip_tokenizer(folder, length=32)
    text = TEXT | {"vocab_size": vocabulary, "max_position_embeddings": 32, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION | {"patch_size": 8})
    _save(transformers.SiglipModel, config, folder)
    return _preprocessor(folder, "SiglipImageProcessor", {"size": {"height": 32, "width": 32}, "resample": 2})


def make_clap(folder: Path, fusion: bool = False) -> Path:
    """As laion/clap-htsat-unfused or -fused: RoBERTa's tokenizer, a Swin tower over mel spectrograms at 48 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = byte_level(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer", "model_max_length": 512})
    )
    text = TEXT | {"vocab_size": vocabulary, "max_position_embeddings": 66}
    audio = {
        "patch_embeds_hidden_size": 16,
        "hidden_size": 128,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        "enable_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None,
        "enable_patch_layer_norm": True,
    }
    _save(
        transformers.ClapModel, transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24), folder
    )
    extractor = transformers.ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=48_000,
        max_length_s=10,
        frequency_min=50,
        frequency_max=14_000,
        truncation="fusion" if fusion else "rand_trunc",
        padding="repeatpad",
    )
    extractor.save_pretrained(folder)
    return folder


def _save(model_class: type, config: object, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.parameters():  # as they start all texts, and all clips, look alike
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
        for name, buffer in model.named_buffers():  # decibels, as a trained model has learned them
            if name.endswith("batch_norm.running_mean"):
                buffer.fill_(-30)
            elif name.endswith("batch_norm.running_var"):
                buffer.fill_(400)
    model.save_pretrained(folder, safe_serialization=True)


def _preprocessor(folder: Path, kind: str, settings: dict[str, object]) -> Path:
    common = {"do_resize": True, "do_rescale": True, "do_normalize": True, "image_mean": MEAN, "image_std": STD}
    named = {"image_processor_type": kind, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(common | named | settings))
    return folder


def _clip_tokenizer(folder: Path) -> tuple[int, int]:
    """vocab.json and merges.txt in CLIP's layout; the ids of its two special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=540, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([sentence.replace(" ", "") for sentence in SENTENCES], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    words = list(dict.fromkeys([*alphabet, *(f"{byte}</w>" for byte in alphabet), *learned["vocab"]]))
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in learned["merges"]]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 40})
    )
    return vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]


def _siglip_tokenizer(folder: Path, length: int) -> int:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    specials = ["<pad>", "<eos>", "<unk>"]
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz0123456789"})
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=specials, unk_token="<unk>", initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=length,
        model_input_names=["input_ids"],
    )
    fast.save_pretrained(folder)
    return len(fast)
