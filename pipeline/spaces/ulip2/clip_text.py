"""CLIP's text tower: a causal transformer whose text is read at the end-of-text token."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT = 77
VOCABULARY = 49408
WIDTH = 512
DEPTH = 12
HEADS = 8


class QuickGelu(nn.Module):
    """The sigmoid approximation of GELU that CLIP was trained with."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply it to each of `values`."""
        return values * torch.sigmoid(1.702 * values)


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a token sees only itself and the tokens before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within each sequence of `tokens` [B, T, C]."""
        count, length, _ = tokens.shape
        joint = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = joint.view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


class CausalBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = CausalAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGelu(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform `tokens` [B, T, C]."""
        tokens = tokens + self.attn(self.ln_1(tokens))
        out: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return out


class CausalTransformer(nn.Module):
    """The stack of blocks."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(CausalBlock(width, heads) for _ in range(depth)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform `tokens` [B, T, C]."""
        out: Tensor = self.resblocks(tokens)
        return out


class ClipText(nn.Module):
    """The text tower of CLIP ViT-B, with the module names that CLIP gave it."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.transformer = CausalTransformer(WIDTH, DEPTH, HEADS)
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.zeros(WIDTH, dimension))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Vectors [B, D] of token rows [B, 77]: the output at the end-of-text token, which has the largest number.

        No token sees those after it, so what follows the last end of the batch is cut before it is computed.
        """
        ends = tokens.argmax(-1)
        tokens = tokens[:, : int(ends.max()) + 1]
        states = self.transformer(self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]])
        pooled = self.ln_final(states[torch.arange(len(tokens), device=tokens.device), ends])
        vectors: Tensor = pooled @ self.text_projection
        return vectors
