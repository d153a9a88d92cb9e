"""The demo's image-text space: a small OpenCLIP model in the folder format of OpenCLIP itself."""

import json
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.atomic import atomic_path, write_text
from pipeline.demo.captions import caption_sets
from pipeline.demo.chunks import render_all
from pipeline.demo.contrast import train_contrastive
from pipeline.demo.image import SIDE, render_images
from pipeline.demo.params import Pretraining
from pipeline.demo.scenes import draw
from pipeline.hashing import seed_from
from pipeline.modalities import IMAGE
from pipeline.progress import Progress

CONTEXT = 24
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
PREPROCESSING = {"size": SIDE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"}


def architecture(dimension: int) -> dict[str, Any]:
    """OpenCLIP's configuration of the model: the smallest convolutional tower that learns the world in seconds."""
    vision = {"timm_model_name": "test_byobnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": SIDE}
    text = {"context_length": CONTEXT, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    return {"embed_dim": dimension, "vision_cfg": vision, "text_cfg": text}


def pretrain(folder: Path, settings: Pretraining, seed: int, progress: Progress) -> None:
    """Train the image-text space on scenes of its own and save it to `folder`."""
    scenes = draw(seed, "pretrain-clip", settings.scenes)
    pictures = torch.from_numpy(render_all(render_images, scenes, seed, IMAGE)).permute(0, 3, 1, 2).contiguous()
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    tokens = [tokenizer(texts) for texts in caption_sets(scenes, seed, "image", settings.captions)]
    torch.manual_seed(seed_from(seed, scenes.corpus, "weights"))
    model = open_clip.CLIP(**architecture(settings.dimension))
    # Of 49,408 tokens some 150 occur: only their rows are trained. The order of ids must hold, because OpenCLIP
    # finds the end of a text by its highest id.
    used = torch.unique(torch.cat(tokens))
    tokens = [torch.searchsorted(used, ids) for ids in tokens]
    whole = model.token_embedding
    model.token_embedding = nn.Embedding(len(used), whole.embedding_dim, _weight=whole.weight[used].detach().clone())
    mean, std = (torch.tensor(PREPROCESSING[name])[:, None, None] for name in ("mean", "std"))

    def embed(batch: Tensor, epoch: int) -> list[Tensor]:
        images = (pictures[batch].float() / 255 - mean) / std
        return [model.encode_image(images), model.encode_text(tokens[epoch % settings.captions][batch])]

    order = seed_from(seed, scenes.corpus, "order")
    train_contrastive(model, model.logit_scale, embed, settings, order, progress)
    model.token_embedding = _all_tokens(whole, used, model.token_embedding)
    with atomic_path(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(model.state_dict(), temporary)
    config = {"model_cfg": architecture(settings.dimension), "preprocess_cfg": PREPROCESSING}
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def _all_tokens(whole: nn.Embedding, used: Tensor, trained: nn.Embedding) -> nn.Embedding:
    """The trained rows in the whole table; a token that never occurred says what an average one says."""
    whole.weight[:] = trained.weight.mean(0)
    whole.weight[used] = trained.weight
    return whole
