"""Audio-visual source localisation by crops of the picture, and counterfactual recognition.

C-MCR's protocol: the crop that is nearest to the sound is the predicted box, and its cosine is the confidence. The crops
come from any detector; they are a corpus like any other, and a table says where each was cut.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.results.bootstrap import Sample
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.sets.annotations import read_columns
from pipeline.evaluate.sets.items import load_embeddings
from pipeline.evaluate.settings import LocalisationTask
from pipeline.evaluate.tasks.overlap import HIT, box_ciou, crop_heat, map_ciou, success_area, truth_map
from pipeline.evaluate.tasks.recognition import Recognition
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.evaluate.views import Views

log = logging.getLogger(__name__)

BOX = ["x0", "y0", "x1", "y1"]


@dataclass(frozen=True)
class Scene:
    """A sound, a picture, and the places that the sound comes from.

    Attributes:
        sound: Row of the sound.
        crops: Rows of the picture's crops [K].
        regions: Annotated boxes [R, 4]; none where the picture does not show what sounds.
    """

    sound: int
    crops: np.ndarray
    regions: np.ndarray


@dataclass(frozen=True)
class SceneSet:
    """The scenes of a task.

    Attributes:
        scenes: At least one of them with a region.
        sounds: Embeddings by frozen space [N, D].
        crops: Embeddings by frozen space [M, D].
        boxes: Where each crop was cut [M, 4].
    """

    scenes: list[Scene]
    sounds: dict[str, np.ndarray]
    crops: dict[str, np.ndarray]
    boxes: np.ndarray


def evaluate_localisation(run: TaskRun[LocalisationTask]) -> None:
    """Measure every contender of the task and add the rows to its tables.

    Raises:
        UserError: A store, a table or a connection is missing or does not fit.
    """
    task = run.task
    data = load_scenes(task, run.spaces, run.folders)
    overlaps = [_overlaps(scene, data, task.agreement) for scene in data.scenes] if task.readout == "box" else []
    measured = []
    for contender, scorer in run.scorers():
        views = scorer(data.sounds[contender.spaces[0]], data.crops[contender.spaces[1]])
        measured.append((contender, _numbers(task, data, views, overlaps)))
    run.add(measured, len(data.scenes))


def load_scenes(task: LocalisationTask, spaces: tuple[Collection[str], Collection[str]], folders: Folders) -> SceneSet:
    """Read sounds and crops of `task`, each in `spaces`, and the tables of boxes.

    Raises:
        UserError: A store or table is missing, a sound or a picture has no embedding, or no scene has a region.
    """
    sound_keys, sounds = load_embeddings(folders, spaces[0], task.corpus, "audio")
    crop_keys, crops = load_embeddings(folders, spaces[1], task.crops, "image")
    boxes = _boxes_of(crop_keys, task, folders)
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(crop_keys):
        rows.setdefault(key.rsplit(task.crop_separator, 1)[0], []).append(row)
    sound_rows = {key: row for row, key in enumerate(sound_keys)}
    regions = _regions(task, folders)
    for (sound, picture), _ in regions.items():
        for known, key, corpus in ((sound_rows, sound, task.corpus), (rows, picture, task.crops)):
            if key not in known:
                raise UserError(
                    f"{task.regions} names {key!r}, of which {corpus} has no embedding.",
                    "Add the sample to the corpus, or take it out of the table.",
                )
    if not any(len(found) for found in regions.values()):
        raise UserError(f"{task.regions} has no box at all.", "Fill the columns x0, y0, x1, y1.")
    scenes = [Scene(sound_rows[sound], np.array(rows[picture]), found) for (sound, picture), found in regions.items()]
    return SceneSet(scenes, sounds, crops, boxes)


def _boxes_of(keys: list[str], task: LocalisationTask, folders: Folders) -> np.ndarray:
    table = read_columns(folders.with_tables(task.proposals), task.proposals, ["key", *BOX])
    places = {str(key): row for row, key in enumerate(table["key"])}
    if missing := next((key for key in keys if key not in places), None):
        raise UserError(
            f"The crop {missing!r} of {task.crops} has no box in {task.proposals}.", "Give each crop a row there."
        )
    if unmatched := sorted(places.keys() - {*keys}):
        log.warning(
            "%s: %d of %d names are not samples of %s, such as %s", task.proposals, len(unmatched), len(places), task.crops,
            ", ".join(map(repr, unmatched[:2])),
        )  # fmt: skip
    return _numbers_of(table[BOX].to_numpy(), task.proposals)[[places[key] for key in keys]]


def _regions(task: LocalisationTask, folders: Folders) -> dict[tuple[str, str], np.ndarray]:
    """By sound and picture, in the order of the table: the annotated boxes."""
    table = read_columns(folders.with_tables(task.regions), task.regions, ["audio", "image", *BOX])
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    cells = _numbers_of(table[BOX].to_numpy(), task.regions)
    for sound, picture, box in zip(table["audio"], table["image"], cells, strict=True):
        boxes = found.setdefault((str(sound), str(picture)), [])
        if not np.isnan(box).any():
            boxes.append(box)
    return {pair: np.array(boxes).reshape(-1, 4) for pair, boxes in found.items()}


def _numbers_of(cells: np.ndarray, table: str) -> np.ndarray:
    """The cells as float64; NaN where one is empty."""
    try:
        return np.array([[float(cell) if cell not in ("", None) else np.nan for cell in row] for row in cells])
    except ValueError as error:
        raise UserError(f"{table} has a box that is not four numbers ({error}).", "Correct the row.") from error


def _overlaps(scene: Scene, data: SceneSet, agreement: int) -> np.ndarray:
    """cIoU of each crop of a scene [K]."""
    if not len(scene.regions):
        return np.zeros(len(scene.crops))
    return np.array([box_ciou(data.boxes[row], scene.regions, agreement) for row in scene.crops])


def _numbers(
    task: LocalisationTask, data: SceneSet, views: Views, overlaps: list[np.ndarray]
) -> Mapping[tuple[str, str], Number]:
    sounds, crops = views.forward
    visible = np.array([len(scene.regions) > 0 for scene in data.scenes])
    confidence, ciou = np.empty(len(visible)), np.zeros(len(visible))
    for at, scene in enumerate(data.scenes):
        scores = crops[scene.crops].astype(np.float64) @ sounds[scene.sound].astype(np.float64)
        confidence[at] = scores.max()
        if visible[at]:
            ciou[at] = _ciou(task, data, scene, scores, overlaps[at] if overlaps else None)
    items = np.flatnonzero(visible)
    # A contender that scores all crops equally takes any of them, and of a map everything.
    guesses = (
        [overlaps[at] for at in items]
        if overlaps
        else [
            np.array([_ciou(task, data, data.scenes[at], np.zeros(len(data.scenes[at].crops)), None)]) for at in items
        ]
    )
    located = ciou >= HIT
    name = "LocAcc" if not visible.all() else "cIoU"
    found = {
        name: Number(
            [Sample(located[items].astype(float), items)],
            len(items),
            float(np.mean([(guess >= HIT).mean() for guess in guesses])),
        ),
        "AUC": Number(
            [Sample(success_area(ciou[items]), items)],
            len(items),
            float(np.mean([success_area(guess).mean() for guess in guesses])),
        ),
    }
    if not visible.all():
        for metric in ("AP", "max-F1"):
            label = metric if task.protocol == "textbook" else f"{metric}-{task.protocol}"
            found[label] = Number([Recognition(confidence, visible, located, metric, task.protocol)], len(visible))
    return {(metric, "audio->image"): number for metric, number in found.items()}


def _ciou(
    task: LocalisationTask, data: SceneSet, scene: Scene, scores: np.ndarray, overlaps: np.ndarray | None
) -> float:
    if overlaps is not None:
        return float(overlaps[scores.argmax()])
    heat = crop_heat(data.boxes[scene.crops], scores)
    return map_ciou(heat, truth_map(scene.regions, task.agreement))
