"""PointBERT in plain torch: the point tower of ULIP and ULIP-2, without a compiled extension.

Module names are those of the published checkpoints. Two things differ from the published code and change no
weight: farthest-point sampling starts at index 0 instead of at random, so that a cloud has one embedding; and the
neighbours are ranked by the distances that the sampling has computed anyway.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.spaces.ulip2.farthest import farthest_points

CHANNELS = 3
WIDTH = 384
DEPTH = 12
HEADS = 6
GROUPS = 512
NEIGHBOURS = 32
TOKEN_WIDTH = 256
FEATURES = 2 * WIDTH

# The mini-PointNet holds 512 x 32 points x 512 channels per cloud: 34 MB in fp32, so it takes a few clouds at a time.
_CLOUDS_AT_ONCE = 8


def nearest_points(squared: Tensor, count: int) -> Tensor:
    """Indices [B, G, K] of the `count` nearest points of each centre, in no order, from distances [B, G, N]."""
    return squared.topk(count, dim=-1, largest=False, sorted=False).indices


def cut_groups(xyz: Tensor, chosen: Tensor, squared: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Cut clouds [B, N, 3] into overlapping groups around the points `chosen` [B, G] at distances `squared` [B, G, N].

    Returns:
        Centres [B, G, 3], and the neighbours of each relative to it [B, G, K, 3].
    """
    near = nearest_points(squared, neighbours)
    centres = xyz.gather(1, chosen[..., None].expand(-1, -1, CHANNELS))
    members = xyz.gather(1, near.flatten(1)[..., None].expand(-1, -1, CHANNELS))
    return centres, members.view(*near.shape, CHANNELS) - centres[:, :, None]


class MiniPointNet(nn.Module):
    """One token per group: two shared perceptrons, each followed by the maximum over the group."""

    def __init__(self, channels: int = CHANNELS, width: int = TOKEN_WIDTH) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv1d(channels, 128, 1), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Conv1d(512, width, 1)
        )

    def forward(self, groups: Tensor) -> Tensor:
        """Tokens [M, 256] of groups [M, K, 3].

        The published code concatenates (summary, point) before the third convolution. The two halves of that
        convolution are applied apart here: its first half is the same for all points of a group, so that the
        largest product of the network is half as large.
        """
        count, size, _ = groups.shape
        expand, norm, relu, lift = self.first_conv
        points = _pointwise(lift, relu(norm(_pointwise(expand, groups.flatten(0, 1)))))  # [M K, 256]
        summary = points.view(count, size, -1).amax(1)  # [M, 256]
        mix, norm, relu, narrow = self.second_conv
        half = summary.shape[1]
        mixed = _pointwise(mix, points, slice(half, None)).view(count, size, -1)
        mixed += _pointwise(mix, summary, slice(half), bias=False)[:, None]
        points = _pointwise(narrow, relu(norm(mixed.flatten(0, 1))))
        return points.view(count, size, -1).amax(1)


def _pointwise(layer: nn.Module, points: Tensor, inputs: slice = slice(None), bias: bool = True) -> Tensor:
    """A convolution of kernel 1, or its part for some input channels, as one matrix product over points [M, C]."""
    assert isinstance(layer, nn.Conv1d)
    return F.linear(points, layer.weight[:, inputs, 0], layer.bias if bias else None)


class Attention(nn.Module):
    """Multi-head self-attention whose joint query-key-value map has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within each sequence of `tokens` [B, T, C]."""
        count, length, _ = tokens.shape
        query, key, value = self.qkv(tokens).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token of `tokens` [..., C]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform `tokens` [B, T, C]."""
        tokens = tokens + self.attn(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class Blocks(nn.Module):
    """The stack of blocks, which gets the positions anew before every block."""

    def __init__(self, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Transform `tokens` [B, T, C] at `positions` [B, T, C]."""
        for block in self.blocks:
            tokens = block(tokens + positions)
        return tokens


class PointBert(nn.Module):
    """Clouds to features: groups, one token per group, 12 blocks, class token beside the maximum of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.encoder = MiniPointNet()
        self.reduce_dim = nn.Linear(TOKEN_WIDTH, WIDTH)
        self.pos_embed = nn.Sequential(nn.Linear(CHANNELS, 128), nn.GELU(), nn.Linear(128, WIDTH))
        self.blocks = Blocks(DEPTH, WIDTH, HEADS)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, xyz: Tensor) -> Tensor:
        """Features [B, 768] of clouds [B, N, 3] in float32, N >= 32, whatever the type of the weights."""
        centres, groups = cut_groups(xyz, *farthest_points(xyz, GROUPS), NEIGHBOURS)
        return self.transform(self.tokenize(groups), centres)

    def tokenize(self, groups: Tensor) -> Tensor:
        """Tokens [B, G, 384] of groups [B, G, K, 3]."""
        groups = groups.to(self.cls_token.dtype)
        tokens = [self.encoder(few.flatten(0, 1)) for few in torch.split(groups, _CLOUDS_AT_ONCE)]
        out: Tensor = self.reduce_dim(torch.cat(tokens)).view(*groups.shape[:2], WIDTH)
        return out

    def transform(self, tokens: Tensor, centres: Tensor) -> Tensor:
        """Features [B, 768] of `tokens` [B, G, 384] around `centres` [B, G, 3]."""
        count = len(tokens)
        positions = self.pos_embed(centres.to(tokens.dtype))
        positions = torch.cat([self.cls_pos.expand(count, -1, -1), positions], 1)
        tokens = torch.cat([self.cls_token.expand(count, -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens, positions))
        return torch.cat([tokens[:, 0], tokens[:, 1:].amax(1)], -1)
