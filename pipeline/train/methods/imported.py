"""Projectors that others trained and published: nothing is trained here, a file becomes the projectors of a link."""

from pathlib import Path

from pipeline.connect.config import PROJECTOR_NAME
from pipeline.connect.published import MODALITIES, Published, layout_called, read_published, widths_of
from pipeline.connect.weights import save_projectors
from pipeline.errors import UserError
from pipeline.hashing import sha256_file
from pipeline.links import Link
from pipeline.train.fit import TrainResult
from pipeline.train.link import LinkJob
from pipeline.train.settings import ImportSettings


def import_link(job: LinkJob) -> TrainResult:
    """Write the projectors of a published file as those of the link; equal files give equal bytes.

    Raises:
        UserError: There is no such file or layout, it holds something else, or the link joins other modalities.
    """
    settings = job.settings
    assert isinstance(settings, ImportSettings)
    if not settings.file:
        raise UserError(f"{job.link.label} names no file of projectors.", "Set `train.file`, for each leaf its own.")
    path = Path(settings.file)
    name = settings.layout or path.stem
    layout = layout_called(name)
    space_of = _space_by_role(layout, job.link, name)
    heads = read_published(path, layout, name)
    spaces = {
        space_of[role]: {"spec": dict(job.specs[space_of[role]]), "modalities": MODALITIES[role], "dimension": width}
        for role, width in widths_of(layout, heads).items()
    }
    config = job.config(spaces, {space_of[role]: spec for role, (spec, _) in heads.items()})
    # Where the file lies decides nothing, and what it holds everything.
    made = {"layout": name, "sha256": sha256_file(path)}
    config = config.model_copy(update={"links": (config.links[0].model_copy(update={"train": made}),)})
    for outdated in job.replaces:
        outdated.unlink(missing_ok=True)
    job.output.mkdir(parents=True, exist_ok=True)
    save_projectors(job.output / PROJECTOR_NAME, {space_of[role]: head for role, (_, head) in heads.items()})
    files = {PROJECTOR_NAME: sha256_file(job.output / PROJECTOR_NAME)}
    config.model_copy(update={"files": files}).save(job.output)
    return TrainResult(pairs=0, used=0, epochs=0, computed=0, steps=0)


def _space_by_role(layout: Published, link: Link, name: str) -> dict[str, str]:
    """Which space of the link has which role in the file: the one whose memory is of the same modality."""
    wanted = {modality: role for role, modality in layout.memories.items()}
    found = {wanted.get(memory.modality, ""): space for space, memory in link.memories.items()}
    if set(found) != set(layout.memories) or link.overlap != layout.overlap or bool(link.base) != layout.of_leaf:
        held = " and ".join(layout.memories.values())
        raise UserError(
            f"{name}.pt joins {held} over {layout.overlap}{', into a base' if layout.of_leaf else ''}; {link.label} says "
            "something else.",
            "Write the connection as `mcr import projectors` prints it.",
        )
    return found
