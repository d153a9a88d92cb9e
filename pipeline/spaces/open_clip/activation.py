"""Weights trained with QuickGELU, found before they are loaded into an OpenCLIP model with plain GELU.

OpenCLIP warns at most, and only of tags: every embedding is then somewhat wrong, and no shape tells.
"""

import re
from pathlib import Path

import open_clip

from pipeline.errors import UserError
from pipeline.spaces.protocol import SpaceSpec
from pipeline.spaces.weights.hub import HUB

OPTION = "force_quick_gelu"
# The address of a published file holds its hash: all of it (OpenAI), or the first 8 digits.
_DIGEST = re.compile(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pth?$")
_NAME = re.compile("openai|quick_?gelu", re.IGNORECASE)


def check_activation(spec: SpaceSpec, name: str, sha256: str) -> None:
    """Refuse weights that were trained with QuickGELU where the model has plain GELU.

    Args:
        spec: The space; its option ``force_quick_gelu``, true or false, is the user's own decision and is not doubted.
        name: The model as OpenCLIP takes it: an architecture, ``local-dir:`` and a folder, or ``hf-hub:`` and a name,
            which brings its own configuration.
        sha256: Hash of the weights; empty for a tag.

    Raises:
        UserError: They do not belong together.
    """
    if OPTION in spec.options or not spec.model or name.startswith(HUB) or _has_quick_gelu(name):
        return
    architecture = spec.model.replace("/", "-")
    model, tag = published(sha256) if sha256 else (name, spec.checkpoint)
    if open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False):
        reason = f"The weights {spec.checkpoint!r} ({model} {tag}) were trained with QuickGELU"
    elif _has_quick_gelu(architecture):
        reason = f"The model {spec.model!r} has QuickGELU"
    elif sha256 and _NAME.search("/".join(Path(spec.checkpoint).parts[-2:])):
        reason = f"The weights {spec.checkpoint!r} were trained with QuickGELU, going by their name"
    else:
        return
    variant = f"{architecture}-quickgelu"
    better = f"Set the model to {variant}" if variant in open_clip.list_models() else f"Set the option {OPTION}: true"
    raise UserError(
        f"{reason}, and {name.removeprefix('local-dir:')} has plain GELU: every embedding would be somewhat wrong.",
        f"{better}; if plain GELU is right after all, set the option {OPTION}: false.",
    )


def _has_quick_gelu(name: str) -> bool:
    return bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))


def published(sha256: str) -> tuple[str, str]:
    """Architecture and tag as which OpenCLIP publishes the file with this hash; two empty strings if it does not."""
    for model, tag in open_clip.list_pretrained():
        digest = _DIGEST.search(open_clip.get_pretrained_url(model, tag))
        if digest and sha256.startswith(digest[1] or digest[2]):
            return model, tag
    return "", ""
