"""The modalities, and the endings by which a file is taken for one of them: in shards and in sources."""

from collections.abc import Iterable

TEXT, IMAGE, AUDIO, POINT = "text", "image", "audio", "point"
MODALITIES = (TEXT, IMAGE, AUDIO, POINT)

EXTENSIONS = {
    TEXT: ("txt",),
    IMAGE: ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"),
    AUDIO: ("flac", "wav", "mp3", "ogg", "oga", "opus", "aiff", "aif", "aifc", "au", "snd", "caf", "w64"),
    POINT: ("npy", "ply"),
}

# What a corpus may hold besides; the shard stage turns it into the first extension of its modality.
SOURCE_EXTENSIONS = {
    POINT: ("npz", "pcd", "xyz", "obj", "off", "glb", "stl"),
}
# Other names of the same format; in a shard its members have the usual one.
ALIASES = {"jfif": "jpg", "jpe": "jpg", "wave": "wav"}

# Endings that hardly any tool writes on purpose beside another one. Where a file of the same name has a usual ending,
# that is the sample, and these are copies of it.
RARE = {
    *("gif", "bmp", "tif", "tiff", "jfif", "jpe"),
    *("oga", "opus", "aiff", "aif", "aifc", "au", "snd", "caf", "w64", "wave"),
    *("xyz", "stl"),
}

MODALITY_OF = {extension: modality for modality, extensions in EXTENSIONS.items() for extension in extensions}
MODALITY_OF |= {alias: MODALITY_OF[extension] for alias, extension in ALIASES.items()}
SOURCE_MODALITY_OF = MODALITY_OF | {
    extension: modality for modality, extensions in SOURCE_EXTENSIONS.items() for extension in extensions
}


def source_endings(modality: str) -> list[str]:
    """Every ending, without its dot, by which a file of a source is taken for `modality`."""
    return [ending for ending, of in SOURCE_MODALITY_OF.items() if of == modality]


def modality_of(extension: str) -> str:
    """The modality of a member of a shard, by its extension; empty if it is of none.

    The members of a modality that the parameters declare begin with its name: ``tactile.png``.
    """
    declared, dot, _ = extension.partition(".")
    return declared if dot else MODALITY_OF.get(extension, "")


def declared_modality(name: str, declared: Iterable[tuple[str, str]], wanted: Iterable[str]) -> tuple[str, str]:
    """The modality as which a file of a source is declared, and its ending; both empty if it is of none of them.

    Args:
        name: Of the file.
        declared: Modalities and endings that the parameters declare, ``("tactile", "tactile.png")``.
        wanted: Modalities of the corpus; an ending that files of ours have, too, counts only where it is among them.
    """
    base = name.rpartition("/")[2].lower()
    found = [
        (modality, ending)
        for modality, ending in declared
        if base.endswith(f".{ending}")
        and len(base) > len(ending) + 1
        and (modality in wanted or ending not in SOURCE_MODALITY_OF)
    ]
    return max(found, key=lambda one: len(one[1]), default=("", ""))
