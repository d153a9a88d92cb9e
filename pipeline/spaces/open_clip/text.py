"""OpenCLIP's causal text towers without the padding: tokens that cannot reach the embedding are never computed."""

from typing import Any

import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn


class TrimmedText:
    """A text tower in which each token sees only those before it and the end token is read.

    What follows the last end token of a batch cannot change an embedding, so it is cut: with captions of 10 to 15 words
    that is about three quarters of the 77 tokens. The arithmetic is that of the library's own towers.
    """

    def __init__(self, tower: Any, pooling: str, end: int) -> None:
        self.tower, self.pooling, self.end = tower, pooling, end

    @classmethod
    def of(cls, model: Any) -> "TrimmedText | None":
        """The tower of `model`, or None where a cut could change an embedding: towers that look ahead, that read
        another token than the end, or that are built otherwise."""
        # Only these very classes: a subclass may do anything.
        if type(model) is CLIP:
            tower, pooling, end = model, model.text_pool_type, model.text_eos_id
        elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer and model.text.cls_emb is None:
            tower, pooling, end = model.text, model.text.pool_type, model.text.eos_id
        else:
            return None
        exact = tower.attn_mask is not None and pooling in ("argmax", "eos")
        return cls(tower, pooling, end) if exact else None

    def __call__(self, tokens: Tensor) -> Tensor:
        """Embeddings [B, D], on the device of the tower, of token rows [B, L]: on the CPU, where asking for the longest one
        does not wait for a GPU, or on that device."""
        tower, device = self.tower, self.tower.positional_embedding.device
        ends = tokens.argmax(-1) if self.pooling == "argmax" else tokens.eq(self.end).int().argmax(-1)
        length = int(ends.max()) + 1
        tokens, ends = (each.to(device, non_blocking=True) for each in (tokens[:, :length], ends))
        rows = torch.arange(len(tokens), device=device)
        states = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        states = tower.transformer(states, attn_mask=tower.attn_mask[:length, :length])
        pooled: Tensor = tower.ln_final(states[rows, ends])
        projection = tower.text_projection
        if projection is None:
            return pooled
        embeddings: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return embeddings
