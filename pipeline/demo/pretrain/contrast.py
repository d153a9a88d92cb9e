"""Symmetric InfoNCE training of small towers, repeatable to the byte at a fixed number of threads."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.demo.params import Pretraining
from pipeline.optimizers import AdamW
from pipeline.precision import multiplying
from pipeline.progress import Progress

# The usual bounds of CLIP's learned scale.
FIRST_SCALE, LARGEST_SCALE = 1 / 0.07, 100.0

EmbedBatch = Callable[[Tensor, int], list[Tensor]]


@multiplying()
def train_contrastive(
    model: nn.Module, scale: nn.Parameter, embed: EmbedBatch, settings: Pretraining, seed: int, progress: Progress
) -> None:
    """Train `model` until the modalities of a scene find each other in a batch.

    Args:
        model: What to train.
        scale: Logarithm of the learned scale (inverse temperature) of the logits.
        embed: From scene indices [B] and the epoch to the embeddings [B, D] of each modality.
        settings: Scenes, epochs, batch and learning rate.
        seed: Seed of the order of scenes.
        progress: Told of every step.
    """
    steps = settings.scenes // settings.batch
    generator = torch.Generator().manual_seed(seed)
    parameters = [parameter for parameter in (*model.parameters(), scale) if parameter.requires_grad]
    optimizer = AdamW(list(dict.fromkeys(parameters)), settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps * settings.epochs, pct_start=0.2
    )
    progress.start("pretrain", steps * settings.epochs, "steps")
    model.train()
    for epoch in range(settings.epochs):
        order = torch.randperm(settings.scenes, generator=generator)
        for step in range(steps):
            batch = order[step * settings.batch : (step + 1) * settings.batch]
            loss = contrastive_loss(embed(batch, epoch), scale)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                scale.clamp_(0, math.log(LARGEST_SCALE))
            progress.advance(1)
    model.eval()


def contrastive_loss(embeddings: list[Tensor], scale: Tensor) -> Tensor:
    """Mean symmetric InfoNCE over all pairs of modalities, each [B, D] of any length."""
    units = [F.normalize(one, dim=-1) for one in embeddings]
    labels = torch.arange(len(units[0]))
    losses = []
    for index, first in enumerate(units):
        for second in units[index + 1 :]:
            logits = scale.exp() * first @ second.T
            losses += [F.cross_entropy(logits, labels), F.cross_entropy(logits.T, labels)]
    return torch.stack(losses).mean()
