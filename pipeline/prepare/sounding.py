"""Sounds with pictures: AVE, VGG-SS, Flickr-SoundNet, MUSIC-Solo, and the extended sets with pictures of something else.

Videos are not read here: each set wants one sound in ``audio/`` and one frame in ``frames/`` for each clip, under the
clip's name, as the programs of EZ-VSL and SLAVC do.
"""

from pathlib import Path
from xml.etree import ElementTree

from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import Box, Prepared, key_of

FRAMES_AND_AUDIO = "`frames/<name>.jpg` and `audio/<name>.wav`"
SOUNDNET_PIXELS = 256


def read_ave(root: Path, templates: tuple[str, ...]) -> Prepared:
    """AVE (Tian et al. 2018): all 4,097 annotated clips of 28 classes; 45 of them have several.

    C-MCR and Ex-MCR do not say which part they measured; nothing is trained on AVE, so no split is held out.
    """
    layout = Layout(
        "AVE",
        root,
        f"`Annotations.txt` (lines `Category&VideoID&Quality&StartTime&EndTime`, with or without that header), {FRAMES_AND_AUDIO}",
    )
    rows = [row for row in layout.cells("Annotations.txt", 5, "&") if row[1] != "VideoID"]
    files, kept = _clips(layout, [row[1] for row in rows])
    classes = {key_of(row[0]): row[0] for row in rows}
    held = set(kept)
    labels = list(dict.fromkeys((key_of(row[1]), key_of(row[0])) for row in rows if row[1] in held))
    listed = len({row[1] for row in rows})
    return Prepared("all annotated clips", listed, files, labels=labels, classes=classes, templates=templates)


def read_vggss(root: Path, templates: tuple[str, ...]) -> Prepared:
    """VGG-SS (Chen et al. 2021): 5,158 clips of VGGSound's test split with boxes."""
    layout = Layout(
        "VGG-SS",
        root,
        f"`vggss.json` (a list of objects with `file`, `class` and `bbox`, boxes in shares), {FRAMES_AND_AUDIO}",
    )
    entries = layout.json("vggss.json")
    if not (isinstance(entries, list) and entries and all(_is_vggss(entry) for entry in entries)):
        raise layout.wrong("vggss.json", "is not a list of objects with `file`, `class` and `bbox`")
    by_name = {str(entry["file"]): entry for entry in entries}
    files, kept = _clips(layout, list(by_name))
    regions = [(key_of(name), key_of(name), _clipped(box)) for name in kept for box in by_name[name]["bbox"]]
    labels = [(key_of(name), key_of(by_name[name]["class"])) for name in kept]
    classes = {key_of(entry["class"]): str(entry["class"]) for entry in entries}
    return Prepared("test", len(by_name), files, (), labels, classes, templates, regions)


def read_flickr_soundnet(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Flickr-SoundNet (Senocak et al. 2018): all annotated pairs (5,000) for retrieval, boxes of the 250 test pairs."""
    layout = Layout(
        "Flickr-SoundNet",
        root,
        f"`flickr_test.csv` (names of the test pairs), `Annotations/<name>.xml` (boxes in 256 pixels), {FRAMES_AND_AUDIO}",
    )
    annotated = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    if not annotated:
        raise layout.wrong("Annotations", "holds no .xml file")
    test = dict.fromkeys(row[0] for row in layout.cells("flickr_test.csv", 1))
    files, kept = _clips(layout, annotated)
    tested = [name for name in test if name in set(kept)]
    if not tested:
        raise layout.wrong("flickr_test.csv", "lists no pair that is annotated and whose files are there")
    regions = [(key_of(name), key_of(name), box) for name in tested for box in _soundnet_boxes(layout, name)]
    return Prepared("annotated; boxes of the test split", len(annotated), files, regions=regions, agreement=2)


def read_music_solo(root: Path, templates: tuple[str, ...]) -> Prepared:
    """MUSIC-Solo as annotated for DSOL (Hu et al. 2020): frames of solos, each with a second of sound.

    Frames without a box are left out: nothing can be localised there.
    """
    layout = Layout(
        "MUSIC-Solo",
        root,
        "`solotest.json` (by `<clip>/<second>/<frame>.jpg` an object with `bbox`, a list with `normbox`: x, y, width, "
        "height in shares), `frames/<clip>/<second>/<frame>.jpg` and `audio/<clip>/<second>.wav`",
    )
    entries = layout.json("solotest.json")
    if not (isinstance(entries, dict) and entries and all(_is_solo(entry) for entry in entries.values())):
        raise layout.wrong("solotest.json", "is not an object of frames with `bbox` and `normbox`")
    shown = {name.removesuffix(".jpg"): entry["bbox"] for name, entry in entries.items() if entry["bbox"]}
    frames, sounds = layout.media("frames", "image"), layout.media("audio", "audio")
    kept = [name for name in layout.held(list(shown), frames, where="frames") if _second(name) in sounds]
    if not kept:
        raise layout.wrong("audio", f"holds no sound of a listed frame (such as {_second(next(iter(shown)))!r})")
    regions = [
        (key_of(_second(name)), key_of(name), _clipped((x, y, x + width, y + height)))
        for name in kept
        for x, y, width, height in (each["normbox"] for each in shown[name])
    ]
    heard = dict.fromkeys(_second(name) for name in kept)
    files = {
        "audio": [(key_of(second), sounds[second]) for second in heard],
        "image": [(key_of(name), frames[name]) for name in kept],
    }
    return Prepared("test, solos with a box", len(shown), files, regions=regions)


def read_extended_vggss(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Extended VGG-SS of SLAVC (Mo & Morgado 2022)."""
    return _extended(root, read_vggss(root, templates), "vggss_test_plus_silent.csv", "Extended VGG-SS")


def read_extended_flickr(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Extended Flickr-SoundNet of SLAVC (Mo & Morgado 2022)."""
    return _extended(
        root, read_flickr_soundnet(root, templates), "flickr_test_plus_silent.csv", "Extended Flickr-SoundNet"
    )


def _extended(root: Path, base: Prepared, name: str, title: str) -> Prepared:
    """The pairs of `base`, and those in which the picture does not show what sounds.

    SLAVC's file lists the second kind only; the pairs that belong together are those of the set itself.
    """
    layout = Layout(
        title,
        root,
        f"`{name}` (columns video, audio, label; every label is `non-sounding`) beside all files of the set itself",
    )
    rows = layout.table(name, ("video", "audio", "label"))
    if unknown := next((row["label"] for row in rows if row["label"] not in ("sounding", "non-sounding")), None):
        raise layout.wrong(name, f"has the label {unknown!r}, not `non-sounding`")
    frames, sounds = layout.media("frames", "image"), layout.media("audio", "audio")
    silent = [(row["video"], row["audio"]) for row in rows if row["label"] == "non-sounding"]
    kept = [(picture, sound) for picture, sound in silent if picture in frames and sound in sounds]
    if not kept:
        raise layout.wrong(name, "lists no `non-sounding` pair whose files are there")
    files = {
        "audio": _with(base.files["audio"], [(key_of(sound), sounds[sound]) for _, sound in kept]),
        "image": _with(base.files["image"], [(key_of(picture), frames[picture]) for picture, _ in kept]),
    }
    regions: list[tuple[str, str, Box | None]] = list(base.regions)
    regions += [(key_of(sound), key_of(picture), None) for picture, sound in kept]
    return Prepared(
        f"{base.split}, with pairs that do not belong together",
        base.listed + len(silent),
        files,
        regions=regions,
        agreement=base.agreement,
    )


def _with(samples: object, more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict([*samples, *more]).items())  # type: ignore[misc]


def _clips(layout: Layout, names: list[str]) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Sound and picture of each clip that has both."""
    frames, sounds = layout.media("frames", "image"), layout.media("audio", "audio")
    kept = layout.held(names, frames, sounds, where="frames")
    files = {"audio": sounds, "image": frames}
    return {modality: [(key_of(name), found[name]) for name in kept] for modality, found in files.items()}, kept


def _soundnet_boxes(layout: Layout, name: str) -> list[Box]:
    path = f"Annotations/{name}.xml"
    try:
        root = ElementTree.parse(layout.file(path)).getroot()
        cells = [[int(str(cell.text)) for cell in list(box)[1:5]] for box in root.iter("bbox")]
        if not cells:
            raise ValueError("no bbox")
        return [_clipped([value / SOUNDNET_PIXELS for value in cell]) for cell in cells]
    except (ElementTree.ParseError, ValueError) as error:
        raise layout.wrong(path, "is not XML with `bbox` elements of a name and four whole numbers") from error


def _second(frame: str) -> str:
    return frame.rsplit("/", 1)[0]


def _is_vggss(entry: object) -> bool:
    return isinstance(entry, dict) and {"file", "class", "bbox"} <= entry.keys() and _are_boxes(entry["bbox"])


def _is_solo(entry: object) -> bool:
    boxes = entry.get("bbox") if isinstance(entry, dict) else None
    return isinstance(boxes, list) and _are_boxes([each.get("normbox") for each in boxes if isinstance(each, dict)])


def _are_boxes(boxes: object) -> bool:
    return isinstance(boxes, list) and all(
        isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box) for box in boxes
    )


def _clipped(box: object) -> Box:
    x0, y0, x1, y1 = (min(max(float(edge), 0.0), 1.0) for edge in box)  # type: ignore[attr-defined]
    return x0, y0, x1, y1
