"""Stores: folders of Parquet parts under a manifest, resumable, verified on reading."""

from pipeline.store.folder import PartFolder
from pipeline.store.join import common_keys
from pipeline.store.manifest import Failure, Manifest, Part, load_complete_manifest, load_manifest
from pipeline.store.parquet import Rows, read_rows, write_rows
from pipeline.store.reader import EMBEDDING_COLUMN, EMBEDDINGS, PAIRS, Store, read_embeddings

__all__ = [
    "EMBEDDINGS",
    "EMBEDDING_COLUMN",
    "PAIRS",
    "Failure",
    "Manifest",
    "Part",
    "PartFolder",
    "Rows",
    "Store",
    "common_keys",
    "load_complete_manifest",
    "load_manifest",
    "read_embeddings",
    "read_rows",
    "write_rows",
]
