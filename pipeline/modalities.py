"""The modalities, and the endings by which a file is taken for one of them: in shards and in sources."""

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
