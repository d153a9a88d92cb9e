"""What a sweep can compare by, known before anything is trained."""

from pipeline.errors import UserError, choice
from pipeline.evaluate.settings import (
    ClassificationTask,
    EvaluateSettings,
    LocalisationTask,
    RetrievalTask,
    TaggingTask,
    Task,
)
from pipeline.sweep.settings import Ablation

# Of a localisation; which of them there are depends on whether all pictures show what sounds.
LOCATED = ("cIoU", "LocAcc", "AUC", "AP", "max-F1")


def check_measurable(ablation: Ablation, settings: EvaluateSettings) -> None:
    """Refuse a metric, or a direction of it, that the task of `ablation` does not measure.

    Raises:
        UserError: It has none of that name.
    """
    metrics, directions = _measured(settings.tasks[ablation.task], settings.recall_at)
    if ablation.metric not in metrics:
        raise UserError(f"The task {ablation.task} has no {ablation.metric!r}.", choice(ablation.metric, metrics))
    if ablation.direction not in directions:
        raise UserError(
            f"The task {ablation.task} has no {ablation.metric} in the direction {ablation.direction!r}.",
            f"Set `direction` in the sweep. {choice(ablation.direction, directions)}",
        )


def _measured(task: Task, recall_at: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Metrics of `task` that are shares, and their directions."""
    if isinstance(task, RetrievalTask):
        prefix = "class_" if task.labels else ""
        return [prefix + name for name in (*(f"R@{k}" for k in recall_at), "mAP")], ["mean", *task.directions]
    if isinstance(task, LocalisationTask):
        protocol = "" if task.protocol == "textbook" else f"-{task.protocol}"
        return [*LOCATED[:3], *(name + protocol for name in LOCATED[3:])], ["audio->image"]
    if isinstance(task, ClassificationTask | TaggingTask):
        tops = [f"top-{k}" for k in task.top] if isinstance(task, ClassificationTask) else ["mAP"]
        return tops, [f"{task.modality}->text"]
    return [], []  # of a geometry no number is a share
