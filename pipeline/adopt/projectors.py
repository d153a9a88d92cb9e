"""The projectors that the authors of C-MCR and Ex-MCR published become connected spaces of ours and keep their numbers.

The files (github.com/MCR-PEFT/C-MCR and .../Ex-MCR, folder ``checkpoints``) are state dictionaries of one module:

* ``clap_clip.pt``: ``Head_A`` is the CLAP side, ``Head_B`` the CLIP side, each `mlp`;
* ``ulip_clip.pt``: ``Head_A`` is the CLIP side, ``Head_B`` the ULIP side, each `linear`;
* ``ex_clap.pt``, ``ex_ulip.pt``: ``Head1`` and ``Head2`` of one leaf, `decoupled`; CLIP is the base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pipeline.connect.config import (
    CONFIG_NAME,
    PROJECTOR_NAME,
    ConnectionConfig,
    SpaceRecord,
    TrainedLink,
    load_config,
    unite,
)
from pipeline.connect.projectors import ProjectorSpec, build_projector
from pipeline.connect.weights import save_projectors
from pipeline.errors import UserError
from pipeline.hashing import sha256_file
from pipeline.links import Memory, name_of
from pipeline.methods import CMCR, EXMCR
from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT
from pipeline.spaces.checkpoints import find_checkpoint, load_strictly, read_tensors

CLIP, CLAP, ULIP = "clip", "clap", "ulip"
MODALITIES = {CLIP: (TEXT, IMAGE), CLAP: (TEXT, AUDIO), ULIP: (POINT, IMAGE, TEXT)}
IMPORTED = "imported"
NO_TRAINING = 0  # the version of our training code that made them


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
# By kind: the first layer [hidden or output, input], and the last one [output, hidden].
_ENDS = {
    "mlp": ("net1.0.weight", "net2.0.weight"),
    "linear": ("net.0.weight", "net.0.weight"),
    "decoupled": ("Head2.mlp1.net1.0.weight", "Head2.mlp1.net2.0.weight"),
}


@dataclass(frozen=True)
class NamedSpace:
    """A space of the user: its name, and the fields of its `SpaceSpec`."""

    name: str
    spec: Mapping[str, object]


def import_projectors(
    files: Mapping[str, Path], spaces: Mapping[str, NamedSpace], folder: Path, connection: str
) -> ConnectionConfig:
    """Write the projectors in `files` as the connected space `folder`, configuration last.

    Args:
        files: By layout, a key of `LAYOUTS`: one file of C-MCR, or one or more leaves of Ex-MCR.
        spaces: By role, for CLIP and every other role of the files: the frozen space that has it.
        folder: Where the connection goes, such as ``data/models/<connection>``.
        connection: Its name.

    Raises:
        UserError: A file is missing, damaged or of another layout; the files do not belong together; or `folder` holds
            a connection that was trained here.
    """
    layouts = {name: LAYOUTS[name] for name in files}
    if len(files) != 1 and not all(layout.of_leaf for layout in layouts.values()):
        raise UserError(
            f"{', '.join(files)} are connections of their own, not leaves of one.", "Import them one by one."
        )
    _refuse_trained(folder)
    read = {name: _read(path, layouts[name], name) for name, path in files.items()}
    made = {name: _record(name, path) for name, path in files.items()}
    links: dict[str, ConnectionConfig] = {}
    for name, heads in read.items():
        config = _config(layouts[name], heads, spaces, connection, made[name])
        link = config.links[0].name
        links[link] = _save(config, heads, spaces, folder / link)
    if len({config.dimension for config in links.values()}) > 1:
        raise UserError("The leaves end in bases of different widths.", "Import leaves of one base.")
    united = unite(links)
    united.save(folder)
    return united


def _refuse_trained(folder: Path) -> None:
    if not (folder / CONFIG_NAME).is_file():
        return
    config = load_config(folder)
    if config.code != NO_TRAINING:
        raise UserError(f"{folder} holds a connection that was trained here.", "Choose another name, or remove it.")


def _record(name: str, path: Path) -> dict[str, object]:
    return {IMPORTED: {"layout": name, "sha256": sha256_file(path)}}


def _read(path: Path, layout: Published, name: str) -> dict[str, tuple[ProjectorSpec, nn.Module]]:
    """By role: the projector in the file, strictly loaded."""
    tensors = read_tensors(find_checkpoint(str(path)))
    known = tuple(layout.heads.values())
    if foreign := [tensor for tensor in tensors if not tensor.startswith(known)]:
        raise UserError(
            f"{path} is not laid out as {name}.pt: it holds {foreign[0]}.",
            f"Say what it is with --layout: {', '.join(LAYOUTS)}.",
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
            f"Say what it is with --layout: {', '.join(LAYOUTS)}.",
        )
    return ProjectorSpec(kind=kind, input=first.shape[1], hidden=first.shape[0], dimension=last.shape[0])


def _config(
    layout: Published,
    heads: Mapping[str, tuple[ProjectorSpec, nn.Module]],
    spaces: Mapping[str, NamedSpace],
    connection: str,
    made: dict[str, object],
) -> ConnectionConfig:
    widths = {role: spec.input for role, (spec, _) in heads.items()}
    if layout.of_leaf:
        widths = {CLIP: next(iter(heads.values()))[0].dimension, **widths}
    records = {
        spaces[role].name: SpaceRecord(spec=dict(spaces[role].spec), modalities=MODALITIES[role], dimension=width)
        for role, width in widths.items()
    }
    if len(records) != len(widths):
        raise UserError("Two roles have the same space.", "Name a space of its own for each: --clip, --clap, --ulip.")
    first, second = records
    base = spaces[CLIP].name if layout.of_leaf else ""
    link = TrainedLink(
        connection=connection,
        name=name_of((first, second), base),
        spaces=(first, second),
        base=base,
        overlap=layout.overlap,
        memories={spaces[role].name: Memory(modality=modality) for role, modality in layout.memories.items()},
        train=made,
        pairs="",
    )
    return ConnectionConfig(
        code=NO_TRAINING,
        connection=connection,
        method=(EXMCR if layout.of_leaf else CMCR).name,
        spaces=records,
        links=(link,),
        projectors={spaces[role].name: spec for role, (spec, _) in heads.items()},
        seed=0,
        threads=1,
    )


def _save(
    config: ConnectionConfig,
    heads: Mapping[str, tuple[ProjectorSpec, nn.Module]],
    spaces: Mapping[str, NamedSpace],
    folder: Path,
) -> ConnectionConfig:
    path = folder / PROJECTOR_NAME
    save_projectors(path, {spaces[role].name: projector for role, (_, projector) in heads.items()})
    config = config.model_copy(update={"files": {PROJECTOR_NAME: sha256_file(path)}})
    config.save(folder)
    return config
