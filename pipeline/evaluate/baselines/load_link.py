"""Read what the baselines may know: the unpaired data of the link that holds the two modalities of a task."""

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from pipeline.connect.config import load_config
from pipeline.errors import UserError
from pipeline.evaluate.baselines.link_data import LinkData, evenly
from pipeline.evaluate.folders import Folders
from pipeline.hashing import seed_from
from pipeline.links import Link
from pipeline.store import PAIRS, Store, common_keys, read_placed
from pipeline.store.parts.file import part_file


def link_between(name: str, links: Sequence[Link], modalities: tuple[str, str]) -> tuple[Link, tuple[str, str]]:
    """The link of connection `name` whose memories hold `modalities`, and the space of each of them.

    Raises:
        UserError: There is none: the connection has nothing to say about this pair without training.
    """
    fitting = [
        link for link in links if link.overlap and set(modalities) <= link.modalities and not _without_data(link)
    ]
    if not fitting:
        held = "; or ".join(" and ".join(sorted(link.modalities)) for link in links)
        lacks = "" if all(link.overlap for link in links) else ", and it has no overlapping modality"
        lacks += ", and it names no data" if any(_without_data(link) for link in links) else ""
        raise UserError(
            f"Connection {name} cannot give baselines for {modalities[0]} and {modalities[1]}: "
            f"its memories hold {held}{lacks}.",
            "Name a connection whose two memories hold the task's modalities, or leave `baselines` empty.",
        )
    space_of = {memory.modality: space for space, memory in fitting[0].memories.items()}
    return fitting[0], (space_of[modalities[0]], space_of[modalities[1]])


def _without_data(link: Link) -> bool:
    """Whether it is one of published projectors, which need to name none."""
    return bool(link.overlap and not link.queries) or not all(memory.corpora for memory in link.memories.values())


def load_link_data(
    link: Link, spaces: tuple[str, str], modalities: tuple[str, str], folders: Folders, most: int, seed: int
) -> LinkData:
    """Read what the baselines may know about `link`, in the order of the task's `modalities` and their `spaces`.

    Raises:
        UserError: A store that is needed is missing.
    """
    overlaps = [
        read_placed([folders.store(space, corpus, link.overlap) for corpus in link.queries]) for space in spaces
    ]
    # Ordered by key: what a baseline holds out must not depend on the order of the task's modalities.
    keys, rows, others = common_keys(overlaps[0][0], overlaps[1][0])
    order = np.argsort(np.array(keys))
    rows, others = rows[order], others[order]
    memories = [
        read_placed([folders.store(space, corpus, modality) for corpus in link.memories[space].corpora])[1]
        for space, modality in zip(spaces, modalities, strict=True)
    ]
    config = load_config(folders.model(link.connection))
    pseudo = None
    columns = [link.memory_column(space) for space in spaces]
    # Where partners are numbers of rows, several to one (coupling), no table of pairs lies there.
    pairs = Store.open(folders.pair_set(link, link.sets[0]), PAIRS) if link.sets else None
    if pairs and all({*columns} <= {*pq.read_schema(part_file(pairs.folder, p)).names} for p in pairs.manifest.parts):
        vectors = pairs.read(columns).vectors
        pseudo = evenly(vectors[columns[0]], most), evenly(vectors[columns[1]], most)
    train = next((trained.train for trained in config.links if trained.name == link.name), {})
    return LinkData(
        overlap=(evenly(overlaps[0][1][rows], most), evenly(overlaps[1][1][others], most)),
        memories=(evenly(memories[0], most), evenly(memories[1], most)),
        pseudo=pseudo,
        projectors=(config.projectors.get(spaces[0]), config.projectors.get(spaces[1])),
        init=str(train.get("projector", {}).get("init", "xavier")),
        seed=seed_from(seed, link.label, "baselines"),
    )
