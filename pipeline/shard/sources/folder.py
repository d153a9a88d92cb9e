"""The source kind `folder`: files, in sub-folders too; those with the same path up to the extension are one sample."""

from collections.abc import Iterator, Sequence

from pipeline.keys import key_of_path
from pipeline.modalities import ALIASES, SOURCE_MODALITY_OF
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawMember, RawSample
from pipeline.shard.sources.unread import Unread


def read_folder(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """A sample for each path, with the wanted modalities as its members; `names` are files of these modalities."""
    found: dict[str, list[dict[str, RawMember]]] = {}
    for name in names:
        extension = name.rpartition(".")[2].lower()
        modality = SOURCE_MODALITY_OF[extension]
        member = RawMember(ALIASES.get(extension, extension), folder, name)
        key = key_of_path(name)
        if len(options.modalities) == 1:
            yield RawSample(key, {modality: member})
            continue
        samples = found.setdefault(key, [{}])
        # A second file of the same modality under the same key is a duplicate, not a member.
        if modality in samples[-1]:
            samples.append({})
        samples[-1][modality] = member
    for key, several in found.items():
        for members in several:
            yield RawSample(key, members)
