"""The source kind `folder`: files, in sub-folders too; those with the same path up to the extension are one sample."""

from collections.abc import Iterator, Sequence

from pipeline.errors import SampleError
from pipeline.keys import key_of_name, key_of_path
from pipeline.modalities import ALIASES, RARE, SOURCE_MODALITY_OF, TEXT, declared_modality
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.texts import Texts
from pipeline.shard.sources.sample import RawMember, RawSample, samples_of
from pipeline.shard.sources.unread import Unread


def read_folder(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """A sample for each path, with the wanted modalities as its members; `names` are files of these modalities."""
    found: dict[str, list[dict[str, RawMember]]] = {}
    texts = Texts()
    for key, modality, member in _members(folder, names, options):
        if len(options.modalities) == 1:
            yield from _with_captions(key, {modality: member}, texts, options, unread)
            continue
        samples = found.setdefault(key, [{}])
        # A second file of the same modality under the same key is a duplicate, not a member.
        if modality in samples[-1]:
            samples.append({})
        samples[-1][modality] = member
    for key, several in found.items():
        for members in several:
            yield from _with_captions(key, members, texts, options, unread)


def _with_captions(
    key: str, members: dict[str, RawMember], texts: Texts, options: SourceOptions, unread: Unread
) -> Iterator[RawSample]:
    """The sample, with each line of its ``.txt`` as a caption where the corpus says so."""
    if not (options.caption_lines and TEXT in members):
        yield RawSample(key, members)
        return
    texts.begin(members[TEXT].origin)
    try:
        captions = texts.lines_of(members[TEXT], 1, options.captions, unread)
    except SampleError as error:
        yield RawSample(key, fault=error.message)
    else:
        yield from samples_of(key, members | {TEXT: captions[0]}, captions, options)


def _members(folder: Folder, names: Sequence[str], options: SourceOptions) -> Iterator[tuple[str, str, RawMember]]:
    """Key, modality and place of each file.

    A file with a rare ending whose name another one has already (`a.gif` beside `a.png`) has its ending in its key.
    """
    if options.declared:
        said = [(name, *declared_modality(name, options.declared, options.modalities)) for name in names]
        for name, modality, ending in said:
            if modality:
                # In the shard the name of the modality comes first, whatever its files are called elsewhere.
                extension = f"{modality}.{ending.rpartition('.')[2]}"
                yield key_of_name(name[: -len(ending) - 1]), modality, RawMember(extension, folder, name)
        names = [name for name, modality, _ in said if not modality]
    endings = [name.rpartition(".")[2].lower() for name in names]
    taken: set[tuple[str, str]] = set()
    if not RARE.isdisjoint(endings):
        usual = ((name, ending) for name, ending in zip(names, endings, strict=True) if ending not in RARE)
        taken = {(key_of_path(name), SOURCE_MODALITY_OF[ending]) for name, ending in usual}
    for name, ending in zip(names, endings, strict=True):
        modality = SOURCE_MODALITY_OF[ending]
        key = key_of_path(name)
        if ending in RARE:
            key = key_of_name(name) if (key, modality) in taken else key
            taken.add((key, modality))
        yield key, modality, RawMember(ALIASES.get(ending, ending), folder, name)
