"""Settings of the `shard` stage."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Modality, Settings
from pipeline.shard.sources.options import SourceOptions

Kind = Literal["auto", "folder", "lines", "jsonl", "table", "webdataset", "coco", "audiocaps", "clotho"]


class CorpusSettings(Settings):
    """A corpus: unpaired raw data of one modality, or an evaluation set with several modalities per key."""

    source: str = Field(
        min_length=1,
        description="Folder, file, pattern (`*.tar`, `{0000..0010}.tar`) or address (`s3://`, `https://`) of the raw data.",
    )
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    kind: Kind = Field(
        "auto",
        description="folder: a file per sample; lines, jsonl, table (csv, tsv, parquet): captions, or a manifest of files; "
        "webdataset: tars; coco, audiocaps, clotho: their captions files; auto: what is there.",
    )
    index: str = Field(
        "", description="Captions file or manifest within the folder `source`; `files` is then below it too."
    )
    files: str = Field(
        "", description="Folder of the files that a captions file or manifest names; empty: the folder of that file."
    )
    key_column: str = Field("", description="Column of the keys; empty: `key`, or numbered rows without one.")
    text_column: str = Field(
        "", description="Column, or value in a webdataset's .json, of captions; empty: text, caption."
    )
    path_column: str = Field("", description="Column of the files; empty: path, file_name, filename, file.")
    samples_per_shard: int = Field(2048, ge=1, description="Samples in one shard, the unit of work and of resume.")
    duplicates: Literal["error", "first"] = Field(
        "error",
        description="A key that occurs twice stops the stage, or its first sample is kept and the others reported.",
    )
    drop_duplicates: bool = Field(
        False, description="Leave out samples with the bytes of another; else they are only listed."
    )
    max_side: int | None = Field(
        None,
        ge=16,
        description="Pixels to which the longer side of larger images is reduced in the shard; null: never.",
    )
    points: int = Field(10_000, ge=1, le=10_000_000, description="Points drawn from the surface of a mesh.")
    sampling_seed: int = Field(0, ge=0, description="Seed of these draws.")
    max_rejected: float | None = Field(
        None, ge=0, le=1, description="Largest share of rejected samples of this corpus; null: `limits.max_rejected`."
    )


def source_options(corpus: CorpusSettings) -> SourceOptions:
    """How the source of a corpus is to be understood."""
    columns = {name: getattr(corpus, name) for name in ("index", "files", "key_column", "text_column", "path_column")}
    return SourceOptions(corpus.modalities, corpus.kind, **columns)


class Limits(Settings):
    """When to stop rather than to go on."""

    max_rejected: float = Field(
        0.01, ge=0, le=1, description="Largest share of rejected samples with which a stage succeeds."
    )
