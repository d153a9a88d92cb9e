"""Samples with classes: ESC-50, AudioSet, ModelNet40, Objaverse-LVIS, ImageNet."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.prepare.layout import Layout
from pipeline.prepare.prepared import Prepared, key_of

SHAPE_TEMPLATES = "modelnet40_64"


def read_esc50(root: Path, templates: tuple[str, ...]) -> Prepared:
    """ESC-50 (Piczak 2015), all 2,000 clips of 50 classes: nothing is trained, so no fold is held out."""
    layout = Layout("ESC-50", root, "`meta/esc50.csv` (columns filename, fold, target, category) and `audio/`")
    rows = {
        Path(row["filename"]).stem: row["category"] for row in layout.table("meta/esc50.csv", ("filename", "category"))
    }
    sounds = layout.media("audio", "audio")
    kept = layout.held(list(rows), sounds, where="audio")
    files = {"audio": [(key_of(stem), sounds[stem]) for stem in kept]}
    labels = [(key_of(stem), key_of(rows[stem])) for stem in kept]
    return Prepared("all folds", len(rows), files, (), labels, _spoken(rows.values()), templates)


def read_audioset(root: Path, templates: tuple[str, ...]) -> Prepared:
    """AudioSet (Gemmeke et al. 2017), evaluation segments, 527 classes, several for each clip."""
    layout = Layout(
        "AudioSet",
        root,
        "`eval_segments.csv` (YTID, start_seconds, end_seconds, positive_labels), `class_labels_indices.csv` (columns index, "
        "mid, display_name) and `audio/` (files `<YTID>` or `Y<YTID>`)",
    )
    names = {
        row["mid"]: row["display_name"] for row in layout.table("class_labels_indices.csv", ("mid", "display_name"))
    }
    rows = {row[0]: row[3].split(",") for row in layout.cells("eval_segments.csv", 4)}
    if unknown := next((mid for mids in rows.values() for mid in mids if mid not in names), None):
        raise layout.wrong("eval_segments.csv", f"names the class {unknown!r}, which class_labels_indices.csv does not")
    media = layout.media("audio", "audio")
    sounds = {clip: media[name] for clip in rows for name in (f"Y{clip}", clip) if name in media}
    kept = layout.held(list(rows), sounds, where="audio")
    files = {"audio": [(key_of(clip), sounds[clip]) for clip in kept]}
    labels = [(key_of(clip), key_of(mid)) for clip in kept for mid in rows[clip]]
    classes = {key_of(mid): name for mid, name in names.items()}
    return Prepared("eval", len(rows), files, (), labels, classes, templates)


def read_modelnet40(root: Path, templates: tuple[str, ...]) -> Prepared:
    """ModelNet40 (Wu et al. 2015), test split: 2,468 clouds, as resampled for PointNet++.

    The zero-shot protocol of ULIP describes each class by 64 texts; they come from its `templates.json`.
    """
    layout = Layout(
        "ModelNet40",
        root,
        "`modelnet40_shape_names.txt`, `modelnet40_test.txt`, `<class>/<name>.txt` (rows x,y,z,nx,ny,nz) and, unless templates "
        f"are given, ULIP's `templates.json` with `{SHAPE_TEMPLATES}`",
    )
    classes = layout.lines("modelnet40_shape_names.txt")
    names = layout.lines("modelnet40_test.txt")
    category = {name: name.rsplit("_", 1)[0] for name in names}
    if unknown := next((name for name in names if category[name] not in classes), None):
        raise layout.wrong(
            "modelnet40_test.txt", f"lists {unknown!r}, which is of no class in modelnet40_shape_names.txt"
        )
    makers = {key_of(name): _cloud(layout, f"{category[name]}/{name}.txt") for name in names}
    labels = [(key_of(name), key_of(category[name])) for name in names]
    chosen = templates or _shape_templates(layout)
    return Prepared("test", len(names), {}, (), labels, _spoken(classes), chosen, converted={"point": makers})


def _cloud(layout: Layout, path: str) -> Callable[[], bytes]:
    layout.file(path)  # all of them are there before the first is written

    def make() -> bytes:
        try:
            points = np.loadtxt(layout.lines(path), delimiter=",", dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise layout.wrong(path, f"is not a table of numbers ({error})") from error
        if points.shape[1] < 3:
            raise layout.wrong(path, f"has {points.shape[1]} columns, and points have at least three")
        buffer = io.BytesIO()
        np.save(buffer, points[:, :3], allow_pickle=False)
        return buffer.getvalue()

    return make


def read_objaverse_lvis(root: Path, templates: tuple[str, ...]) -> Prepared:
    """Objaverse-LVIS (Deitke et al. 2023): shapes of 1,156 categories, and a picture of each where there are pictures."""
    layout = Layout(
        "Objaverse-LVIS",
        root,
        "`lvis-annotations.json` (by category a list of uids), `points/<uid>` (.npy of `mcr convert-openshape`, .glb, ...), "
        "`images/<uid>` if there are pictures and, unless templates are given, ULIP's `templates.json` with "
        f"`{SHAPE_TEMPLATES}`",
    )
    content = layout.json("lvis-annotations.json")
    if not (isinstance(content, dict) and content and all(isinstance(uids, list) for uids in content.values())):
        raise layout.wrong("lvis-annotations.json", "is not an object with a list of uids for each category")
    category = {str(uid): str(name) for name, uids in content.items() for uid in uids}
    points = {Path(stem).name: path for stem, path in layout.media("points", "point").items()}
    kept = layout.held(list(category), points, where="points")
    files = {"point": [(key_of(uid), points[uid]) for uid in kept]}
    if (root / "images").is_dir():
        pictures = {Path(stem).name: path for stem, path in layout.media("images", "image").items()}
        files["image"] = [(key_of(uid), pictures[uid]) for uid in kept if uid in pictures]
    labels = [(key_of(uid), key_of(category[uid])) for uid in kept]
    return Prepared("all", len(category), files, (), labels, _spoken(content), templates or _shape_templates(layout))


def read_imagenet(root: Path, templates: tuple[str, ...]) -> Prepared:
    """ImageNet (Russakovsky et al. 2015), the 50,000 pictures of the validation split as Kaggle distributes them."""
    layout = Layout(
        "ImageNet",
        root,
        "`LOC_synset_mapping.txt`, `LOC_val_solution.csv` (columns ImageId, PredictionString) and `ILSVRC/Data/CLS-LOC/val/`",
    )
    lines = [line.split(" ", 1) for line in layout.lines("LOC_synset_mapping.txt")]
    if short := next((line[0] for line in lines if len(line) < 2), None):
        raise layout.wrong("LOC_synset_mapping.txt", f"has the line {short!r}, which is not a synset with its names")
    synsets = {line[0]: line[1] for line in lines}
    rows = {
        row["ImageId"]: row["PredictionString"].split(" ", 1)[0]
        for row in layout.table("LOC_val_solution.csv", ("ImageId", "PredictionString"))
    }
    if unknown := next((synset for synset in rows.values() if synset not in synsets), None):
        raise layout.wrong("LOC_val_solution.csv", f"names {unknown!r}, which LOC_synset_mapping.txt does not")
    pictures = layout.media("ILSVRC/Data/CLS-LOC/val", "image")
    kept = layout.held(list(rows), pictures, where="ILSVRC/Data/CLS-LOC/val")
    files = {"image": [(key_of(name), pictures[name]) for name in kept]}
    # Two classes are called crane and two maillot: a class is its synset, and its first name is what is said.
    classes = {synset: names.split(",")[0] for synset, names in synsets.items()}
    return Prepared("val", len(rows), files, (), [(key_of(name), rows[name]) for name in kept], classes, templates)


def _spoken(names: object) -> dict[str, str]:
    """Classes by key, as they are said."""
    return {key_of(name): name.replace("_", " ") for name in dict.fromkeys(names)}  # type: ignore[call-overload]


def _shape_templates(layout: Layout) -> tuple[str, ...]:
    found = layout.json("templates.json")
    templates = found.get(SHAPE_TEMPLATES) if isinstance(found, dict) else None
    if not (isinstance(templates, list) and templates and all("{}" in str(template) for template in templates)):
        raise layout.wrong("templates.json", f"has no list `{SHAPE_TEMPLATES}` of texts with {{}}")
    return tuple(map(str, templates))
