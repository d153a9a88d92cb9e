"""Captions as their publishers write them: training parts, and those of evaluation sets, which nothing is trained on."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.prepare.captioned import is_image
from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import key_of

COCO, AUDIOCAPS, CLOTHO, CC3M = "coco", "audiocaps", "clotho", "cc3m"
CLOTHO_CAPTIONS = [f"caption_{number}" for number in range(1, 6)]
TRAIN = {
    COCO: "coco/dataset_coco.json",
    AUDIOCAPS: "audiocaps/train.csv",
    CLOTHO: "clotho/clotho_captions_development.csv",
    CC3M: "cc3m/Train_GCC-training.tsv",
}
HELD_OUT = {
    "coco, val and test": "coco/dataset_coco.json",
    "flickr30k, val and test": "flickr30k/dataset_flickr30k.json",
    "audiocaps, val": "audiocaps/val.csv",
    "audiocaps, test": "audiocaps/test.csv",
    "clotho, validation": "clotho/clotho_captions_validation.csv",
    "clotho, evaluation": "clotho/clotho_captions_evaluation.csv",
}
Row = tuple[str, str | None]
"""Key and caption; None where the row cannot be read."""


def _karpathy(layout: Layout, path: str, splits: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    content = layout.json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not (isinstance(images, list) and all(is_image(each) for each in images)):
        raise layout.wrong(path, "has no list `images` with `filename`, `split` and `sentences`")
    for image in images:
        if image["split"] in splits:
            for number, sentence in enumerate(image["sentences"]):
                yield f"{Path(image['filename']).stem}-{number}", str(sentence["raw"])


def _coco(layout: Layout) -> Iterator[Row]:
    yield from ((key_of(key), text) for key, text in _karpathy(layout, TRAIN[COCO], ("train", "restval")))


def _audiocaps(layout: Layout) -> Iterator[Row]:
    for row in layout.table(TRAIN[AUDIOCAPS], ("audiocap_id", "caption")):
        yield f"audiocaps-{key_of(row['audiocap_id'])}", row["caption"]


def _clotho(layout: Layout) -> Iterator[Row]:
    seen: set[str] = set()
    for row in layout.table(TRAIN[CLOTHO], ("file_name", *CLOTHO_CAPTIONS)):
        name = key_of(Path(row["file_name"]).stem)
        while name in seen:  # `Car_Keys.wav` and `Car Keys.wav` are two sounds
            name += "_"
        seen.add(name)
        for number, column in enumerate(CLOTHO_CAPTIONS):
            yield f"clotho-{name}-{number}", row[column]


def _cc3m(layout: Layout) -> Iterator[Row]:
    """Rows of a caption, a tab and an address, without a header."""
    with layout.file(TRAIN[CC3M]).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file):
            caption, tab, address = line.rstrip("\r\n").partition("\t")
            sound = tab and address and not re.search("[\ud800-\udfff]", caption)
            yield f"cc3m-{number:08d}", caption if sound else None


ROWS: dict[str, Callable[[Layout], Iterator[Row]]] = {
    COCO: _coco,
    AUDIOCAPS: _audiocaps,
    CLOTHO: _clotho,
    CC3M: _cc3m,
}


def held_out_captions(layout: Layout, name: str) -> Iterator[str]:
    """Captions of one of `HELD_OUT`."""
    path = HELD_OUT[name]
    if path.endswith(".json"):
        yield from (text for _, text in _karpathy(layout, path, ("val", "test")))
    elif path.startswith(AUDIOCAPS):
        yield from (row["caption"] for row in layout.table(path, ("caption",)))
    else:
        yield from (row[column] for row in layout.table(path, CLOTHO_CAPTIONS) for column in CLOTHO_CAPTIONS)
