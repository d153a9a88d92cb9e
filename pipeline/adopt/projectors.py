"""The projectors that the authors of C-MCR and Ex-MCR published become connected spaces of ours and keep their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.connect.config import (
    CONFIG_NAME,
    PROJECTOR_NAME,
    ConnectionConfig,
    SpaceRecord,
    TrainedLink,
    load_config,
    unite,
)
from pipeline.connect.published import CLIP, LAYOUTS, MODALITIES, Heads, Published, read_published, widths_of
from pipeline.connect.weights import save_projectors
from pipeline.errors import UserError
from pipeline.hashing import sha256_file
from pipeline.links import Memory, name_of
from pipeline.methods import CMCR, EXMCR, PUBLISHED, PUBLISHED_LEAVES

IMPORTED = "imported"
NO_TRAINING = 0  # the version of our training code that made them


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
        raise UserError(f"{', '.join(files)} are separate connections, not leaves of one.", "Import them one by one.")
    _refuse_trained(folder)
    read = {name: read_published(path, layouts[name], name) for name, path in files.items()}
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


def entry(files: Mapping[str, Path], spaces: Mapping[str, NamedSpace]) -> dict[str, object]:
    """What params.yaml says of the same files as a connection, so that `dvc repro` makes and evaluates it.

    Args:
        files: By layout, as in `import_projectors`.
        spaces: By role: the frozen space that has it.
    """
    links = {}
    for name, path in files.items():
        layout = LAYOUTS[name]
        memories = {spaces[role].name: {"modality": modality} for role, modality in layout.memories.items()}
        links[name] = {"overlap": layout.overlap, "memories": memories}
        source = {"file": path.as_posix(), "layout": name}
        if not layout.of_leaf:
            joined = {"spaces": list(memories), **links[name]}
            return {"method": PUBLISHED.name, "join": joined, "retrieve": {}, "train": source}
        links[name]["train"] = source
    leaves = {spaces[next(iter(LAYOUTS[name].heads))].name: link for name, link in links.items()}
    join = {"base": spaces[CLIP].name, "leaves": leaves}
    return {"method": PUBLISHED_LEAVES.name, "join": join, "retrieve": {}, "train": {}}


def _refuse_trained(folder: Path) -> None:
    if not (folder / CONFIG_NAME).is_file():
        return
    config = load_config(folder)
    if config.code != NO_TRAINING:
        raise UserError(f"{folder} holds a connection that was trained here.", "Choose another name, or remove it.")


def _record(name: str, path: Path) -> dict[str, object]:
    return {IMPORTED: {"layout": name, "sha256": sha256_file(path)}}


def _config(
    layout: Published,
    heads: Heads,
    spaces: Mapping[str, NamedSpace],
    connection: str,
    made: dict[str, object],
) -> ConnectionConfig:
    widths = widths_of(layout, heads)
    records = {
        spaces[role].name: SpaceRecord(spec=dict(spaces[role].spec), modalities=MODALITIES[role], dimension=width)
        for role, width in widths.items()
    }
    if len(records) != len(widths):
        raise UserError("Two roles have the same space.", "Name a different space for each: --clip, --clap, --ulip.")
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
    heads: Heads,
    spaces: Mapping[str, NamedSpace],
    folder: Path,
) -> ConnectionConfig:
    path = folder / PROJECTOR_NAME
    save_projectors(path, {spaces[role].name: projector for role, (_, projector) in heads.items()})
    config = config.model_copy(update={"files": {PROJECTOR_NAME: sha256_file(path)}})
    config.save(folder)
    return config
