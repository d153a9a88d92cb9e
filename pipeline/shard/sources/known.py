"""Every kind of source by name: ours, then those of installed packages and of the project's folder ``plugins/``."""

import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.errors import McrError, UserError
from pipeline.modalities import SOURCE_MODALITY_OF, modality_of
from pipeline.plugins import SOURCES, Plugin, plugins
from pipeline.shard.sources.kind import SourceKind
from pipeline.shard.sources.kinds.audiocaps import read_audiocaps
from pipeline.shard.sources.kinds.clotho import read_clotho
from pipeline.shard.sources.kinds.coco import read_coco
from pipeline.shard.sources.kinds.folder import read_folder
from pipeline.shard.sources.kinds.jsonl import read_jsonl
from pipeline.shard.sources.kinds.lines import read_text_lines
from pipeline.shard.sources.kinds.table import read_table
from pipeline.shard.sources.kinds.webdataset import read_webdataset
from pipeline.shard.sources.options import KINDS, SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.shard.sources.unread import Unread

TABLES = ("csv", "tsv", "parquet")
BUILT_IN = {
    "folder": SourceKind(read_folder),
    "lines": SourceKind(read_text_lines, ("txt",), declares=False),
    "jsonl": SourceKind(read_jsonl, ("jsonl", "ndjson"), names_files=True, declares=False),
    "table": SourceKind(read_table, TABLES, names_files=True, declares=False),
    "webdataset": SourceKind(read_webdataset, ("tar",), declares=False),
    "coco": SourceKind(read_coco, ("json",), names_files=True, declares=False),
    "audiocaps": SourceKind(read_audiocaps, TABLES, names_files=True, declares=False),
    "clotho": SourceKind(read_clotho, TABLES, names_files=True, declares=False),
}


def kind_called(name: str) -> SourceKind:
    """The kind `name`, which `CorpusSettings` has found to exist.

    Raises:
        UserError: A plug-in cannot be loaded, is no `SourceKind`, or has the name of one of ours.
    """
    plugin = plugins(SOURCES).get(name)
    if plugin is None:
        return BUILT_IN[name]
    if name in KINDS:
        raise UserError(f"{plugin} has the name of a built-in one.", f"Rename it, or remove {plugin.package}.")
    kind = plugin.load()
    if not isinstance(kind, SourceKind):
        raise UserError(f"{plugin} is not a `SourceKind`.", f"Repair or remove {plugin.package}.")
    return _checked(plugin, kind)


def _checked(plugin: Plugin, kind: SourceKind) -> SourceKind:
    """`kind` held to what the stages after it rely on: a member's ending says its modality, and its faults are its own."""

    def read(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
        samples: Iterator[RawSample] | None = None
        while True:
            try:
                samples = samples or iter(kind.read(folder, names, options, unread))
                sample = next(samples, None)
            except (McrError, OSError):  # what these say is about the data
                raise
            except Exception as error:
                raise UserError(
                    f"{plugin} failed ({type(error).__name__}: {error}).",
                    f"Repair {plugin.package}; `mcr -v` shows where it failed.",
                ) from error
            if sample is None:
                return
            _check(plugin, sample)
            yield sample

    return replace(kind, read=read)


def _check(plugin: Plugin, sample: object) -> None:
    if not (
        isinstance(sample, RawSample)
        and isinstance(sample.key, str)
        and all(isinstance(member, RawMember) for member in sample.members.values())
    ):
        raise UserError(
            f"{plugin} gives {reprlib.repr(sample)}, which is not a `RawSample`.", f"Repair {plugin.package}."
        )
    for modality, member in sample.members.items():
        ending = member.extension
        if modality != (SOURCE_MODALITY_OF.get(ending) or modality_of(ending)):
            raise UserError(
                f"{plugin} gives {sample.key!r} a member of the modality {modality} that ends in .{ending}.",
                f"Repair {plugin.package}: docs/plugins.md says which endings a modality has.",
            )
