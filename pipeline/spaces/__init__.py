"""The frozen spaces: one folder per encoder family, behind one protocol; families of somebody else are plug-ins."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, choice
from pipeline.plugins import ENCODERS, Plugin, made_by, plugins
from pipeline.spaces.protocol import Fingerprint, Space, SpaceSpec

# Adding a family is one folder and one line here. Families are imported when one of their spaces is
# loaded, because each drags in a large library that the other spaces do not need.
FAMILIES = {
    "open_clip": "pipeline.spaces.open_clip.space:OpenClipSpace",
    "compact": "pipeline.spaces.compact.space:CompactSpace",
    "laion_clap": "pipeline.spaces.laion_clap.space:LaionClapSpace",
    "onnx": "pipeline.spaces.onnx.space:OnnxSpace",
    "transformers": "pipeline.spaces.transformers.space:TransformersSpace",
    "ulip2": "pipeline.spaces.ulip2.space:Ulip2Space",
}


def load_space(spec: SpaceSpec, device: str = "cpu") -> Space:
    """Load the frozen space that `spec` describes onto `device`.

    Raises:
        UserError: Unknown family or device, or a checkpoint that is missing, damaged, of another architecture, or not finite.
    """
    # Not at the top: who asks what a space is, such as `mcr check`, needs no torch.
    from pipeline.precision import multiplying
    from pipeline.spaces.device import check_device
    from pipeline.spaces.foreign import load_foreign
    from pipeline.spaces.weights.finite import check_finite_weights

    if not isinstance(spec, SpaceSpec):
        raise UserError(
            f"A {type(spec).__name__} is no SpaceSpec.", 'Write SpaceSpec("encoder", "path of its weights").'
        )
    plugin = plugin_of(spec)
    try:
        space: Space = load_foreign(plugin, spec, device) if plugin else _family(spec).load(spec, device)
    except (RuntimeError, AssertionError, NotImplementedError):
        check_device(device)  # not before: an encoder may compute without torch
        raise
    # Both here and not in each family, so that none can forget them.
    check_finite_weights(space, spec)
    space.encode = multiplying(spec.precision)(space.encode)  # type: ignore[method-assign]
    if code := made_by(ENCODERS, spec.encoder):
        own = space.fingerprint
        space.fingerprint = lambda modality: own(modality) | code  # type: ignore[method-assign]
    return space


def prepared_for(spec: SpaceSpec, options: Mapping[str, str | int | float | bool]) -> SpaceSpec:
    """`spec` with the options that one corpus has in place of the space's own.

    Args:
        spec: The space.
        options: By name; the family says which may be given so (`preparation`): those that prepare files and leave the
            model alone, so that embeddings of both can be compared.

    Raises:
        UserError: Unknown family, or an option that is not one of these.
    """
    if not options:
        return spec
    allowed = tuple(getattr(_family(spec), "preparation", ()))
    if wrong := next((name for name in options if name not in allowed), None):
        raise UserError(
            f"The option {wrong} of {spec.encoder} cannot be set for a single corpus.",
            f"Those that can: {', '.join(allowed) or 'none'}. Set the others in `spaces`, where they hold for all corpora.",
        )
    return replace(spec, options={**spec.options, **options})


def known_encoders() -> list[str]:
    """Names of all encoder families: ours, then those of installed packages and of the project's folder ``plugins/``."""
    return [*FAMILIES, *plugins(ENCODERS)]


def plugin_of(spec: SpaceSpec) -> Plugin | None:
    """The plug-in that `spec` names as its encoder; None for a family of ours.

    Raises:
        UserError: It has the name of one of ours.
    """
    plugin = plugins(ENCODERS).get(spec.encoder)
    if plugin and spec.encoder in FAMILIES:
        raise UserError(f"{plugin} has the name of a built-in one.", f"Rename it, or remove {plugin.package}.")
    return plugin


def weight_files(spec: SpaceSpec) -> list[Path]:
    """Every file on this machine that decides what the space of `spec` computes: weights, settings, tokenizers.

    The family says which (`weight_files`, a static method); one that does not is taken to read all of its folder.
    Files in the cache of a hub do not count, and a name that only a hub knows has none.

    Raises:
        UserError: Unknown family, or a file that it needs is missing.
    """
    ask, plugin = getattr(_family(spec), "weight_files", None), plugin_of(spec)
    if ask and plugin:
        from pipeline.spaces.foreign import blamed

        with blamed(plugin, "weight_files"):
            return [Path(file) for file in ask(spec)]
    if ask:
        return list(ask(spec))
    path = Path(spec.checkpoint)
    if not path.exists():
        raise UserError(f"{path} does not exist.", "Put the weights there, or correct `checkpoint` of the space.")
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def check_known(spec: SpaceSpec) -> None:
    """Refuse `spec` if there is no such encoder family; nothing is imported.

    Raises:
        UserError: There is none, or a plug-in has the name of one of ours.
    """
    if not plugin_of(spec) and spec.encoder not in FAMILIES:
        hint = choice(spec.encoder, known_encoders())
        raise UserError(
            f"There is no encoder family {spec.encoder!r}.", f"{hint} An encoder of another package must be installed."
        )


def _family(spec: SpaceSpec) -> Any:
    check_known(spec)
    if plugin := plugin_of(spec):
        return plugin.load()
    module, class_name = FAMILIES[spec.encoder].split(":")
    return getattr(import_module(module), class_name)


__all__ = [
    "FAMILIES",
    "Fingerprint",
    "Space",
    "SpaceSpec",
    "check_known",
    "known_encoders",
    "load_space",
    "plugin_of",
    "prepared_for",
    "weight_files",
]
