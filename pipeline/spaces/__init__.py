"""The frozen spaces: one file per encoder family, behind one protocol."""

from difflib import get_close_matches
from importlib import import_module

from pipeline.errors import UserError
from pipeline.spaces.protocol import Fingerprint, Space, SpaceSpec

# Adding a family is one file and one line here. Families are imported when one of their spaces is
# loaded, because each drags in a large library that the other spaces do not need.
FAMILIES = {
    "open_clip": "pipeline.spaces.open_clip:OpenClipSpace",
    "compact": "pipeline.spaces.compact:CompactSpace",
    "laion_clap": "pipeline.spaces.laion_clap:LaionClapSpace",
    "ulip2": "pipeline.spaces.ulip2:Ulip2Space",
}


def load_space(spec: SpaceSpec, device: str = "cpu") -> Space:
    """Load the frozen space that `spec` describes onto `device`.

    Raises:
        UserError: Unknown family, or a checkpoint that is missing, damaged or of another architecture.
    """
    if spec.encoder not in FAMILIES:
        nearest = get_close_matches(spec.encoder, FAMILIES, n=1)
        raise UserError(
            f"There is no encoder family {spec.encoder!r}.",
            f"Did you mean {nearest[0]!r}?" if nearest else f"Choose one of: {', '.join(FAMILIES)}.",
        )
    module, class_name = FAMILIES[spec.encoder].split(":")
    space: Space = getattr(import_module(module), class_name).load(spec, device)
    return space


__all__ = ["FAMILIES", "Fingerprint", "Space", "SpaceSpec", "load_space"]
