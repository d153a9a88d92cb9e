"""All links of a connection on their way to one connected space, trained together."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.connect.config import unite
from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.methods import implementation
from pipeline.store.integrity.agreement import space_differences
from pipeline.train.fit import Job, TrainResult, fit
from pipeline.train.link import LinkJob
from pipeline.train.objective import Objective
from pipeline.train.settings import JointTrainSettings
from pipeline.train.tables import joined_spaces


def train_jointly(jobs: Sequence[LinkJob]) -> TrainResult:
    """Train one projector for each space over all links, or continue, or find that nothing is to do.

    Weights and configuration lie in the folder of the connection: no link has any of its own.

    Args:
        jobs: One for each link, in the order of the connection, all with the same settings and folder.

    Raises:
        UserError: The pairs were made for another method or link, from different versions of a space, or are fewer than one
            batch; or the loss is not a finite number.
    """
    first = jobs[0]
    settings = first.settings
    assert isinstance(settings, JointTrainSettings)
    of_links = [joined_spaces(job.stores, job.link, job.method.name) for job in jobs]
    spaces = _agreeing(jobs, of_links)
    head = settings.projector
    specs = {
        space: ProjectorSpec(kind=head.kind, input=facts["dimension"], hidden=head.hidden, dimension=head.outputs(0))
        for space, facts in spaces.items()
    }
    config = unite(
        {
            job.link.name: job.config(of_link, {space: specs[space] for space in job.link.spaces})
            for job, of_link in zip(jobs, of_links, strict=True)
        }
    )
    widths = {space: int(facts["dimension"]) for space, facts in spaces.items()}
    links = [job.link for job in jobs]
    objective: Objective = implementation(first.method.objective, "pipeline.train")(links, widths, settings)
    stores = tuple(store for job in jobs for store in job.stores)
    training = Job(config, objective, settings, head.init, stores, first.replaces)
    return fit(training, first.output, first.device, first.progress)


def _agreeing(jobs: Sequence[LinkJob], of_links: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """By space what the embedding stores of all links say about it."""
    spaces: dict[str, Any] = {}
    for job, of_link in zip(jobs, of_links, strict=True):
        for space, facts in of_link.items():
            if reasons := space_differences(spaces.setdefault(space, facts), facts):
                raise UserError(
                    f"{job.link.label} was made from another {space} than the links before it: {'; '.join(reasons)}.",
                    "Run `dvc repro`, so that all of them come from one checkpoint.",
                )
    return spaces
