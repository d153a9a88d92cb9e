"""Audio-visual source localisation by crops of the picture, and counterfactual recognition.

C-MCR's protocol: the crop that is nearest to the sound is the predicted box, and its cosine is the confidence. The crops
come from any detector; they are a corpus like any other, and a table says where each was cut.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.evaluate.folders import Folders
from pipeline.evaluate.results.bootstrap import Sample
from pipeline.evaluate.results.measured import Number
from pipeline.evaluate.sets.annotations import read_columns
from pipeline.evaluate.sets.items import load_embeddings
from pipeline.evaluate.sets.named import by_sample, key_among
from pipeline.evaluate.settings import LocalisationTask
from pipeline.evaluate.tasks.overlap import HIT, box_ciou, crop_heat, map_ciou, success_area, truth_map
from pipeline.evaluate.tasks.recognition import Recognition
from pipeline.evaluate.tasks.task_run import TaskRun
from pipeline.evaluate.views import Views
from pipeline.keys import key_of_name, without_ending

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
    names, boxes = _proposals(crop_keys, task, folders)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        # The key of a crop with an odd name ends in a hash: only the name says which picture it was cut from.
        rows.setdefault(key_of_name(without_ending(name).rsplit(task.crop_separator, 1)[0]), []).append(row)
    sound_rows = {key: row for row, key in enumerate(sound_keys)}
    regions = _by_keys(_regions(task, folders), sound_rows, rows, task)
    if not any(len(found) for found in regions.values()):
        raise UserError(f"{task.regions} has no boxes.", "Fill the columns x0, y0, x1, y1.")
    scenes = [Scene(sound_rows[sound], np.array(rows[picture]), found) for (sound, picture), found in regions.items()]
    return SceneSet(scenes, sounds, crops, boxes)


def _by_keys(
    regions: Mapping[tuple[str, str], np.ndarray],
    sounds: Collection[str],
    pictures: Collection[str],
    task: LocalisationTask,
) -> dict[tuple[str, str], np.ndarray]:
    """The regions by the keys of sound and picture, which the table may name by their files.

    Raises:
        UserError: One is of no key.
    """

    def key(name: str, known: Collection[str], corpus: str) -> str:
        if found := key_among(name, known):
            return found
        raise UserError(
            f"{task.regions} names {name!r}, but {corpus} has no embedding of it.",
            "Add the sample to the corpus, or take it out of the table.",
        )

    found: dict[tuple[str, str], np.ndarray] = {}
    for (sound, picture), boxes in regions.items():
        pair = key(sound, sounds, task.corpus), key(picture, pictures, task.crops)
        found[pair] = np.concatenate([found[pair], boxes]) if pair in found else boxes
    return found


def _proposals(keys: list[str], task: LocalisationTask, folders: Folders) -> tuple[list[str], np.ndarray]:
    """What the table calls each crop, and where it was cut [M, 4]."""
    table = read_columns(folders.with_tables(task.proposals), task.proposals, ["key", *BOX])
    rows = {str(name): row for row, name in enumerate(table["key"])}
    names = by_sample({name: name for name in rows}, {key: key for key in keys}, task.proposals, task.crops)
    if missing := next((key for key in keys if key not in names), None):
        raise UserError(
            f"The crop {missing!r} of {task.crops} has no box in {task.proposals}.", "Give each crop a row there."
        )
    boxes = _numbers_of(table[BOX].to_numpy(), task.proposals)
    return [names[key] for key in keys], boxes[[rows[names[key]] for key in keys]]


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
