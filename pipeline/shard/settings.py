"""Settings of the `shard` stage."""

from dataclasses import fields
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.plugins import SOURCES, plugins
from pipeline.settings import Modality, Settings, declared, one_of
from pipeline.shard.sources.options import KINDS, SourceOptions


def _known_kind(name: str) -> str:
    return name if name in KINDS else one_of(name, [*KINDS, *plugins(SOURCES)])


_NAMES = {"type": "string", "anyOf": [{"enum": list(KINDS)}, {"pattern": "^[A-Za-z0-9_.-]+$"}]}
Kind = Annotated[str, AfterValidator(_known_kind), WithJsonSchema(_NAMES)]


def _places(value: object) -> object:
    """One sentence for everything that is neither a place nor a list of places; a union would give one for each."""
    places = value if isinstance(value, list | tuple) else [value]
    if not places or not all(isinstance(place, str) and place for place in places):
        raise PydanticCustomError("places", "Input should be a place, or a list of places")
    if again := next((place for place in places if places.count(place) > 1), None):
        raise PydanticCustomError("places", "Input should name {place} once", {"place": repr(again)})
    return value


# What says how samples are made of a source and cut into shards.
_CHANGE_SHARDS = {
    *("index", "files", "key_column", "item_column", "captions", "caption_lines", "text_column", "path_column"),
    *("samples_per_shard", "duplicates", "drop_duplicates", "max_side", "points", "sampling_seed"),
}


class CorpusSettings(Settings):
    """A corpus: unpaired raw data of one modality, or an evaluation set with several modalities per key."""

    source: Annotated[str | tuple[str, ...], BeforeValidator(_places)] = Field(
        description="Folder, file, pattern (`*.tar`, `{0000..0010}.tar`) or address (`s3://`, `https://`) of the raw data, "
        "or a list of such places, each with keys of its own.",
    )
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    kind: Kind = Field(
        "auto",
        description="folder: a file per sample; lines, jsonl, table (csv, tsv, parquet): captions, or a manifest of files; "
        "webdataset: tars; coco, audiocaps, clotho: their captions files; auto: what is there; or the name of a plug-in.",
    )
    index: str = Field(
        "", description="Captions file or manifest within the folder `source`; `files` is then below it too."
    )
    files: str = Field(
        "", description="Folder of the files that a captions file or manifest names; empty: the folder of that file."
    )
    key_column: str = Field("", description="Column of the keys; empty: `key`, or numbered rows without one.")
    item_column: str = Field(
        "",
        description="Column that identifies items, such as the file: rows with the same value are one item with several "
        'captions, `<item>` and `<item>-0`, `<item>-1` ... (a task\'s `item_separator: "-"`); empty: each row is an item.',
    )
    captions: Literal["one", "first", "all"] = Field(
        "one",
        description="Several captions in one place (a list in a row or in a .json; those of one item in COCO, AudioCaps, "
        "Clotho): one: a list is rejected, of an item the first is taken; first; all: `<key>-0`, `<key>-1` ...",
    )
    caption_lines: bool = Field(
        False,
        description="Each line of a `.txt` in a folder or webdataset is a caption of its own, as in clip-benchmark's tars; "
        "`captions` says what becomes of several.",
    )
    text_column: str = Field(
        "", description="Column, or value in a webdataset's .json, of captions; empty: text, caption."
    )
    path_column: str = Field(
        "", description="Column of the files or their paths; empty: path, file_name, filename, file, image ..."
    )
    adopt: bool = Field(
        False,
        description="The tars of `source` are the shards, where they lie: read and hashed once, never copied, changed or "
        "removed. For WebDataset tars with plain keys, such as img2dataset's; what is wrong with single files is found when "
        "they are encoded.",
    )
    samples_per_shard: int = Field(2048, ge=1, description="Samples in one shard, the unit of work and of resume.")
    duplicates: Literal["error", "first"] = Field(
        "error",
        description="A key that occurs twice stops the stage, or its first sample is kept and the others reported.",
    )
    repeated: Literal["stop", "keep"] = Field(
        "stop",
        description="An evaluation set in which a picture, sound or shape stands under several keys: stop, since each counts as a wrong answer for "
        "the others, or keep them as separate items. Captions may repeat.",
    )
    drop_duplicates: bool = Field(
        False, description="Leave out samples with the same bytes as another; otherwise only list them."
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
    _declared: tuple[tuple[str, str], ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _keep_declared(self, info: ValidationInfo) -> Self:
        patterns = declared(info).items()
        self._declared = tuple((name, pattern.removeprefix("*.").lower()) for name, pattern in patterns)
        return self

    @model_validator(mode="after")
    def _leave_adopted_tars_alone(self) -> Self:
        if changed := sorted(_CHANGE_SHARDS & self.model_fields_set) if self.adopt else []:
            raise PydanticCustomError(
                "adopt",
                "`adopt` takes the tars as they are, so that {names} has no meaning",
                {"names": ", ".join(changed)},
            )
        return self

    @property
    def places(self) -> tuple[str, ...]:
        """Where the raw data is, each place by itself."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def declared(self) -> tuple[tuple[str, str], ...]:
        """Modalities that the parameters declare, with the endings of their files."""
        return self._declared


def source_options(corpus: CorpusSettings) -> SourceOptions:
    """How the source of a corpus is to be understood."""
    said = {field.name: getattr(corpus, field.name) for field in fields(SourceOptions) if hasattr(corpus, field.name)}
    return SourceOptions(**said)


class Limits(Settings):
    """When to stop rather than to go on."""

    max_rejected: float = Field(
        0.01, ge=0, le=1, description="Largest share of rejected samples with which a stage succeeds."
    )
