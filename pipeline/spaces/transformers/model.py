"""Models of transformers, loaded whole or not at all, and what their two versions do differently."""

import inspect
from collections.abc import Callable
from typing import Any

import transformers
from torch import Tensor

from pipeline.errors import UserError
from pipeline.modalities import AUDIO, IMAGE
from pipeline.spaces.transformers.files import TransformersFolder
from pipeline.spaces.transformers.inputs import OFFLINE, quiet


def load_model(folder: TransformersFolder, named: str) -> Any:
    """The model in `folder`, of the class that it names or of the class `named`, on the CPU.

    Raises:
        UserError: There is no such contrastive model, or the weights do not fill it.
    """
    name = named or next(iter(folder.config.get("architectures") or [""]))
    model_class: Any = getattr(transformers, name, None)
    embeds = [modality for modality in (IMAGE, AUDIO) if hasattr(model_class, f"get_{modality}_features")]
    if not name or not embeds or not hasattr(model_class, "get_text_features"):
        raise UserError(
            f"transformers {transformers.__version__} has no contrastive model {name!r} (of {folder.folder}).",
            "Choose a model with get_text_features and get_image_features or get_audio_features, such as CLIPModel.",
        )
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                str(folder.folder), use_safetensors=True, output_loading_info=True, **OFFLINE
            )
    except Exception as error:  # what its configurations, safetensors and torch raise
        raise UserError(
            f"transformers cannot load {folder.folder} as {name}: {str(error)[:300]}", "Fetch the folder again."
        ) from error
    # What is missing the library draws at random, with a warning at most.
    lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if lacking:
        raise UserError(
            f"{folder.weights[0]} does not fill {name}: {len(lacking)} tensors are missing or of another shape "
            f"({', '.join(lacking[:3])}).",
            "Use weights and config.json of the same repository and revision.",
        )
    return model


def arguments_of(function: Callable[..., object]) -> tuple[str, ...]:
    """What a method of the library can be called with."""
    return tuple(inspect.signature(function).parameters)


def positions_of(model: Any) -> int:
    """Tokens that the text tower has room for; in a RoBERTa the first positions are those of padding."""
    for module in model.modules():
        positions: Any = getattr(module, "position_embeddings", None)
        if getattr(positions, "padding_idx", None) is not None:
            return int(positions.num_embeddings - positions.padding_idx - 1)
    return int(getattr(getattr(model.config, "text_config", model.config), "max_position_embeddings", 10**9))


def pooled(features: Any) -> Tensor:
    """The features themselves (version 4 of the library), or where version 5 puts them."""
    pooled: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return pooled
