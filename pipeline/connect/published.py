"""The files of projectors that the authors of C-MCR and Ex-MCR published, strictly read.

They (github.com/MCR-PEFT/C-MCR and .../Ex-MCR, folder ``checkpoints``) are state dictionaries of one module:

* ``clap_clip.pt``: ``Head_A`` is the CLAP side, ``Head_B`` the CLIP side, each `mlp`;
* ``ulip_clip.pt``: ``Head_A`` is the CLIP side, ``Head_B`` the ULIP side, each `linear`;
* ``ex_clap.pt``, ``ex_ulip.pt``: ``Head1`` and ``Head2`` of one leaf, `decoupled`; CLIP is the base.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pipeline.connect.projectors import ProjectorSpec, build_projector
from pipeline.errors import UserError, choice
from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT
from pipeline.spaces.weights.checkpoints import find_checkpoint, load_strictly, read_tensors

CLIP, CLAP, ULIP = "clip", "clap", "ulip"
MODALITIES = {CLIP: (TEXT, IMAGE), CLAP: (TEXT, AUDIO), ULIP: (POINT, IMAGE, TEXT)}

Heads = Mapping[str, tuple[ProjectorSpec, nn.Module]]
"""By role of the space: its projector."""


@dataclass(frozen=True)
class Published:
    """What one published file holds.

    Attributes:
        kind: Kind of its projectors.
        heads: By role of the space (`CLIP`, ...): prefix of its tensors.
        overlap: Modality over which the spaces were joined.
        memories: By role: modality of the space's other input in training.
    """

    kind: str
    heads: Mapping[str, str]
    overlap: str
    memories: Mapping[str, str]

    @property
    def of_leaf(self) -> bool:
        """Whether it is a leaf of Ex-MCR, of which several make one connection."""
        return CLIP not in self.heads


AUDIO_VISUAL, POINT_TEXT = {CLIP: IMAGE, CLAP: AUDIO}, {CLIP: TEXT, ULIP: POINT}
LAYOUTS = {
    "clap_clip": Published("mlp", {CLIP: "Head_B.", CLAP: "Head_A."}, TEXT, AUDIO_VISUAL),
    "ulip_clip": Published("linear", {CLIP: "Head_A.", ULIP: "Head_B."}, IMAGE, POINT_TEXT),
    "ex_clap": Published("decoupled", {CLAP: ""}, TEXT, AUDIO_VISUAL),
    "ex_ulip": Published("decoupled", {ULIP: ""}, IMAGE, POINT_TEXT),
}
# Git's ids of the files at C-MCR 038dec1 and Ex-MCR 0f2baa5: the two leaves have one layout, and only their bytes differ.
BLOBS = {
    "61099f73eabf34a1f8da2ab11ffdd87db95b20b3": "clap_clip",
    "350a714d9eef411985e353ba0306b885196f2610": "ulip_clip",
    "f85c9a202324d9374c71b032fd9f42a9c818cf87": "ex_clap",
    "50b8eff07c85a0cd1084de54537282deffe04567": "ex_ulip",
}
# By kind: the first layer [hidden or output, input], and the last one [output, hidden].
_ENDS = {
    "mlp": ("net1.0.weight", "net2.0.weight"),
    "linear": ("net.0.weight", "net.0.weight"),
    "decoupled": ("Head2.mlp1.net1.0.weight", "Head2.mlp1.net2.0.weight"),
}


def layout_called(name: str) -> Published:
    """The layout `name`.

    Raises:
        UserError: There is none.
    """
    if name not in LAYOUTS:
        raise UserError(f"There is no layout {name!r}.", choice(name, LAYOUTS))
    return LAYOUTS[name]


def published_as(path: Path) -> str | None:
    """The layout of the published file that `path` is byte for byte; None if it is none of them."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        begun = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        return BLOBS.get(hashlib.file_digest(file, lambda: begun).hexdigest())


def widths_of(layout: Published, heads: Heads) -> dict[str, int]:
    """By role: width of the embeddings of the space; the base of a leaf first, which has no projector."""
    widths = {role: spec.input for role, (spec, _) in heads.items()}
    return {CLIP: next(iter(heads.values()))[0].dimension, **widths} if layout.of_leaf else widths


def read_published(path: Path, layout: Published, name: str) -> Heads:
    """The projectors in the file `path`, strictly loaded.

    Args:
        path: The file.
        layout: What it must hold.
        name: Of the layout, for messages.

    Raises:
        UserError: It is missing, damaged, of another layout, or published under another name.
    """
    checkpoint = find_checkpoint(str(path))
    tensors = read_tensors(checkpoint)
    if (other := published_as(checkpoint.path)) not in (None, name):
        raise UserError(
            f"{path} is what the authors published as {other}.pt.", f"Name its layout: {other}, not {name}."
        )
    if odd := next((tensor for tensor, values in tensors.items() if not values.isfinite().all()), None):
        raise UserError(f"{path} is damaged: {odd} is not finite.", "Fetch the file again.")
    known = tuple(layout.heads.values())
    if foreign := [tensor for tensor in tensors if not tensor.startswith(known)]:
        raise UserError(
            f"{path} is not laid out as {name}.pt: it holds {foreign[0]}.",
            f"Name its layout: {', '.join(LAYOUTS)}.",
        )
    found = {}
    for role, prefix in layout.heads.items():
        head = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        spec = _spec(head, layout.kind, path, name)
        projector = build_projector(spec)
        load_strictly(projector, head, path, f"{name}.pt of the authors ({prefix or 'its head'})")
        found[role] = (spec, projector.eval())
    return found


def _spec(head: Mapping[str, Tensor], kind: str, path: Path, name: str) -> ProjectorSpec:
    first, last = (head.get(layer) for layer in _ENDS[kind])
    if first is None or last is None or first.ndim != 2 or last.ndim != 2:
        raise UserError(
            f"{path} is not laid out as {name}.pt: it has no matrix {_ENDS[kind][0]} or {_ENDS[kind][1]}.",
            f"Name its layout: {', '.join(LAYOUTS)}.",
        )
    return ProjectorSpec(kind=kind, input=first.shape[1], hidden=first.shape[0], dimension=last.shape[0])
