"""The modalities and the file extensions by which a shard member is recognised."""

TEXT, IMAGE, AUDIO, POINT = "text", "image", "audio", "point"
MODALITIES = (TEXT, IMAGE, AUDIO, POINT)

EXTENSIONS = {
    TEXT: ("txt",),
    IMAGE: ("png", "jpg", "jpeg", "webp"),
    AUDIO: ("flac", "wav", "mp3", "ogg"),
    POINT: ("npy", "ply"),
}

MODALITY_OF = {extension: modality for modality, extensions in EXTENSIONS.items() for extension in extensions}
