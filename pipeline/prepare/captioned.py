"""Pictures or sounds with several captions each: COCO and Flickr30K in Karpathy's splits, AudioCaps, Clotho."""

from functools import partial
from pathlib import Path

from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import Prepared, key_of

CAPTIONS = 5


def _karpathy(root: Path, templates: tuple[str, ...], title: str, name: str) -> Prepared:
    layout = Layout(
        title,
        root,
        f"`{name}` (Karpathy's split: `images`, each with `filename`, `split` and `sentences`) and the pictures, in any folder",
    )
    content = layout.json(name)
    images = content.get("images") if isinstance(content, dict) else None
    if not (isinstance(images, list) and all(is_image(each) for each in images)):
        raise layout.wrong(name, "has no list `images` with `filename`, `split` and `sentences`")
    chosen = {Path(each["filename"]).stem: each for each in images if each["split"] == "test"}
    if not chosen:
        raise layout.wrong(name, "has no picture of the split `test`")
    pictures = {Path(stem).name: path for stem, path in layout.media(".", "image").items()}
    kept = layout.held(list(chosen), pictures, where=".")
    # Some pictures have more than five captions; everybody takes the first five.
    captions = [
        (key_of(stem), str(sentence["raw"])) for stem in kept for sentence in chosen[stem]["sentences"][:CAPTIONS]
    ]
    files = {"image": [(key_of(stem), pictures[stem]) for stem in kept]}
    return Prepared("Karpathy's test", len(chosen), files, captions)


def is_image(entry: object) -> bool:
    """Whether `entry` is a picture of Karpathy's splits with its captions."""
    return (
        isinstance(entry, dict)
        and {"filename", "split", "sentences"} <= entry.keys()
        and all(isinstance(each, dict) and "raw" in each for each in entry["sentences"])
    )


read_coco = partial(_karpathy, title="COCO", name="dataset_coco.json")
read_flickr30k = partial(_karpathy, title="Flickr30K", name="dataset_flickr30k.json")


def read_audiocaps(root: Path, templates: tuple[str, ...]) -> Prepared:
    """AudioCaps (Kim et al. 2019), test split: up to 975 clips with five captions."""
    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    layout = Layout(
        "AudioCaps",
        root,
        f"`test.csv` (columns {', '.join(columns)}) and `audio/` (files `<youtube_id>_<start_time>`, `<youtube_id>`, "
        "`Y<youtube_id>` or `<audiocap_id>`)",
    )
    rows = layout.table("test.csv", columns)
    sounds = layout.media("audio", "audio")
    found: dict[str, str] = {}
    clips: dict[str, list[str]] = {}
    for row in rows:
        start = row["start_time"].removesuffix(".0")
        clip = f"{row['youtube_id']}_{start}"
        names = (clip, row["youtube_id"], f"Y{row['youtube_id']}", row["audiocap_id"])
        for name in names:
            if name in sounds:
                found.setdefault(clip, sounds[name])
        clips.setdefault(clip, []).append(row["caption"])
    kept = layout.held(list(clips), found, where="audio")
    captions = [(key_of(clip), text) for clip in kept for text in clips[clip]]
    return Prepared("test", len(clips), {"audio": [(key_of(clip), found[clip]) for clip in kept]}, captions)


def read_clotho(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Clotho 2 (Drossos et al. 2020), evaluation split: 1,045 sounds with five captions."""
    columns = ["file_name", *(f"caption_{number}" for number in range(1, CAPTIONS + 1))]
    name = "clotho_captions_evaluation.csv"
    layout = Layout("Clotho", root, f"`{name}` (columns {', '.join(columns)}) and `evaluation/` with the sounds")
    rows = {Path(row["file_name"]).stem: row for row in layout.table(name, columns)}
    sounds = layout.media("evaluation", "audio")
    kept = layout.held(list(rows), sounds, where="evaluation")
    captions = [(key_of(stem), rows[stem][column]) for stem in kept for column in columns[1:]]
    return Prepared("evaluation", len(rows), {"audio": [(key_of(stem), sounds[stem]) for stem in kept]}, captions)
