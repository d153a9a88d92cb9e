"""Training of a compact space from rendered scenes and their captions."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.demo.captions import caption_sets
from pipeline.demo.params import Pretraining
from pipeline.demo.pretrain.contrast import FIRST_SCALE, train_contrastive
from pipeline.demo.scenes import Scenes
from pipeline.hashing import seed_from
from pipeline.modalities import TEXT
from pipeline.progress import Progress
from pipeline.spaces.compact.space import CompactModel, Settings, save_compact, word_ids, words_of
from pipeline.spaces.compact.towers import TextSettings


def pretrain_compact(
    folder: Path,
    scenes: Scenes,
    style: str,
    data: Mapping[str, tuple[Settings, Tensor]],
    settings: Pretraining,
    seed: int,
    progress: Progress,
) -> None:
    """Train a compact space on `scenes` and save it to `folder`.

    Args:
        folder: Where the weights and the configuration go.
        scenes: N training scenes.
        style: Style of their captions.
        data: For each modality besides text the settings of its tower and its input [N, ...].
        settings: How to train.
        seed: Seed of the world.
        progress: Told of every step.
    """
    captions = caption_sets(scenes, seed, style, settings.captions)
    vocabulary = tuple(sorted({word for texts in captions for text in texts for word in words_of(text)}))
    text = TextSettings(vocabulary)
    ids = {word: index for index, word in enumerate(vocabulary, start=1)}
    tokens = [torch.stack([word_ids(one, ids, text.length) for one in texts]) for texts in captions]
    torch.manual_seed(seed_from(seed, scenes.corpus, "weights"))
    model = CompactModel(settings.dimension, {TEXT: text} | {name: tower for name, (tower, _) in data.items()})

    def embed(batch: Tensor, epoch: int) -> list[Tensor]:
        inputs = {name: rows[batch] for name, (_, rows) in data.items()}
        inputs[TEXT] = tokens[epoch % settings.captions][batch]
        return [model(name, rows) for name, rows in inputs.items()]

    scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
    train_contrastive(model, scale, embed, settings, seed_from(seed, scenes.corpus, "order"), progress)
    save_compact(folder, model)
