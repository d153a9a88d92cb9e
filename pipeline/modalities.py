"""The modalities and the file extensions by which a shard member is recognised."""

TEXT, IMAGE, AUDIO, POINT = "text", "image", "audio", "point"
MODALITIES = (TEXT, IMAGE, AUDIO, POINT)

EXTENSIONS = {
    TEXT: ("txt",),
    IMAGE: ("png", "jpg", "jpeg", "webp"),
    AUDIO: ("flac", "wav", "mp3", "ogg"),
    POINT: ("npy", "ply"),
}

# What a corpus may hold besides; the shard stage turns it into the first extension of its modality.
SOURCE_EXTENSIONS = {
    POINT: ("npz", "pcd", "obj", "off", "glb"),
}

MODALITY_OF = {extension: modality for modality, extensions in EXTENSIONS.items() for extension in extensions}
SOURCE_MODALITY_OF = MODALITY_OF | {
    extension: modality for modality, extensions in SOURCE_EXTENSIONS.items() for extension in extensions
}
