"""Links as the parameters would make them, for tests that start behind the parameters."""

from pipeline.links import Link, Memory, name_of

CORPUS = {"text": "captions", "image": "photos", "audio": "sounds", "point": "shapes"}


def make_link(
    connection: str = "audio_image",
    spaces: tuple[str, str] = ("clip", "clap"),
    overlap: str = "text",
    memories: dict[str, str] | None = None,
    base: str = "",
    sets: tuple[str, ...] = ("overlap",),
    corpora: dict[str, str] | None = None,
) -> Link:
    """A link over one corpus for each modality; `memories` are modalities by space."""
    memories, corpora = memories or {"clip": "image", "clap": "audio"}, corpora or CORPUS
    return Link(
        connection=connection,
        name=name_of(spaces, base),
        spaces=spaces,
        base=base,
        overlap=overlap,
        queries=(corpora[overlap],) if overlap else (),
        memories={space: Memory(modality=kind, corpora=(corpora[kind],)) for space, kind in memories.items()},
        sets=sets,
    )
