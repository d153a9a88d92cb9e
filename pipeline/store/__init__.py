"""Stores: folders of Parquet parts under a manifest, resumable, verified on reading."""

from pipeline.store.integrity.agreement import open_placed, read_placed
from pipeline.store.join import common_keys
from pipeline.store.manifest import Failure, Manifest, Part, load_complete_manifest, load_manifest
from pipeline.store.parquet import Rows, read_rows, write_rows
from pipeline.store.parts.folder import PartFolder
from pipeline.store.parts.run import run_parts
from pipeline.store.parts.work import Made, Source, Work
from pipeline.store.reader import EMBEDDING_COLUMN, EMBEDDINGS, PAIRS, Store, read_embeddings

__all__ = [
    "EMBEDDINGS",
    "EMBEDDING_COLUMN",
    "PAIRS",
    "Failure",
    "Made",
    "Manifest",
    "Part",
    "PartFolder",
    "Rows",
    "Source",
    "Store",
    "Work",
    "common_keys",
    "load_complete_manifest",
    "load_manifest",
    "open_placed",
    "read_embeddings",
    "read_placed",
    "read_rows",
    "run_parts",
    "write_rows",
]
