"""A store for programs of others: numbered arrays as clip-retrieval writes them, or one index of FAISS.

Rows are written a part at a time, in the order of the store, float32 and of norm 1, so that inner products are cosines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.connect.connected_space import ConnectedSpace
from pipeline.errors import UserError
from pipeline.files.atomic import atomic_path
from pipeline.links import store_folder
from pipeline.modalities import IMAGE, MODALITY_OF, TEXT
from pipeline.store import EMBEDDING_COLUMN, open_placed
from pipeline.store.manifest import MANIFEST_NAME
from pipeline.store.shards import open_shards, read_shard, verify_shard

# Of clip-retrieval's `clip_inference/writer.py`; other modalities are called alike.
ARRAYS = {IMAGE: "img_emb", TEXT: "text_emb"}
METADATA = "metadata"
INDEX_NAME, KEYS_NAME = "index.faiss", "keys.parquet"


@dataclass(frozen=True)
class Exported:
    """One store, to be written elsewhere.

    Attributes:
        space: The frozen space that embedded it.
        corpus: Its corpus.
        modality: What the rows are of.
        embeddings: Folder of all stores.
        shards: Folder of all shards, for captions.
        connected: The connected space that the rows are projected into; None to leave them as they are.
    """

    space: str
    corpus: str
    modality: str
    embeddings: Path
    shards: Path
    connected: ConnectedSpace | None = None

    def blocks(self) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """Keys and rows [N, E] of each part.

        Raises:
            UserError: The store is missing, unfinished, or is not of this place.
            CorruptError: A part is damaged.
        """
        store = open_placed(store_folder(self.embeddings, self.space, self.corpus, self.modality))
        for _, rows in store.parts([EMBEDDING_COLUMN]):
            vectors = rows.vectors[EMBEDDING_COLUMN]
            if self.connected:
                vectors = self.connected.project(self.space, vectors, self.modality).numpy()
            yield list(rows.keys), np.ascontiguousarray(vectors, np.float32)

    @property
    def count(self) -> int:
        """Number of parts."""
        return len(open_placed(store_folder(self.embeddings, self.space, self.corpus, self.modality)).manifest.parts)

    def captions(self) -> dict[str, str]:
        """By key the text of the sample; empty where shards hold none.

        Raises:
            CorruptError: A shard is damaged.
        """
        folder, found = self.shards / self.corpus, dict[str, str]()
        if not (folder / MANIFEST_NAME).is_file():
            return found
        for part in open_shards(folder).parts:
            for sample in read_shard(verify_shard(folder, part)):
                text = next((content for end, content in sample.members.items() if MODALITY_OF.get(end) == TEXT), None)
                if text is not None:
                    found[sample.key] = text.decode(errors="replace")
        return found


def write_arrays(wanted: Exported, folder: Path) -> int:
    """Write ``img_emb/img_emb_0.npy`` ..., and ``metadata/metadata_0.parquet`` ... with the columns key, image_path, caption.

    Returns:
        Number of rows.

    Raises:
        UserError: See `Exported.blocks`; or `folder` is not empty.
        CorruptError: See `Exported.blocks`.
    """
    name = ARRAYS.get(wanted.modality, f"{wanted.modality}_emb")
    width, captions, total = len(str(wanted.count)), wanted.captions(), 0
    new_folder(folder)
    for number, (keys, rows) in enumerate(wanted.blocks()):
        label = str(number).zfill(width)
        (folder / name).mkdir(exist_ok=True)
        (folder / METADATA).mkdir(exist_ok=True)
        with atomic_path(folder / name / f"{name}_{label}.npy") as path, path.open("wb") as file:
            np.save(file, rows)
        columns = {"key": keys, "image_path": keys, "caption": [captions.get(key, "") for key in keys]}
        with atomic_path(folder / METADATA / f"metadata_{label}.parquet") as path:
            pq.write_table(pa.table(columns), path)
        total += len(keys)
    return total


def write_faiss(wanted: Exported, folder: Path) -> int:
    """Write ``index.faiss``, a flat index of inner products, and ``keys.parquet``, whose row i is item i of the index.

    Returns:
        Number of rows.

    Raises:
        UserError: See `write_arrays`; or FAISS is not installed.
        CorruptError: See `Exported.blocks`.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError("FAISS is not installed.", "pip install 'mcr-connect[cpu]'") from error
    new_folder(folder)
    index, every = None, list[str]()
    for keys, rows in wanted.blocks():
        index = index or faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        every += keys
    if index is None:
        raise UserError(f"The store {wanted.space}/{wanted.corpus}/{wanted.modality} is empty.", "Choose another.")
    with atomic_path(folder / INDEX_NAME) as path:
        faiss.write_index(index, str(path))
    with atomic_path(folder / KEYS_NAME) as path:
        pq.write_table(pa.table({"key": every}), path)
    return len(every)


def new_folder(folder: Path) -> None:
    """Make `folder`; what lies in it would be mixed up with what is written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder.", "Name a new one.")
    folder.mkdir(parents=True, exist_ok=True)
