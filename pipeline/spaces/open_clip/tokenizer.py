"""Which tokenizer a model of OpenCLIP has: the library's own, or files of a folder or of the hub, which may change."""

import json
from typing import Any

from pipeline.hashing import sha256_json

# What a tokenizer makes of a text; the rest is how much it cuts and pads, which OpenCLIP says at each call.
_PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor", "added_tokens")


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash of what a tokenizer does; empty for the library's own, whose files come with its version.

    It is taken of what was loaded: the files may lie in a folder, in a cache, or be converted from others on the way.

    Args:
        tokenizer: As `open_clip.get_tokenizer` gives it.
    """
    loaded = getattr(tokenizer, "tokenizer", None)
    if loaded is None or not hasattr(loaded, "get_vocab"):
        return ""
    described: dict[str, object] = {"special": {str(k): str(v) for k, v in loaded.special_tokens_map.items()}}
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        return sha256_json({**described, "class": type(loaded).__name__, "vocabulary": loaded.get_vocab()})
    parts = json.loads(backend.to_str())
    described |= {name: parts.get(name) for name in _PARTS}
    model = parts["model"]
    if "merges" in model:  # pairs or words with a space between them, by the version of the package
        model["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return sha256_json(described)
