"""One link on its way to its part of the connected space; how methods with an objective are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.connect.config import ConnectionConfig, TrainedLink
from pipeline.connect.projectors import ProjectorSpec
from pipeline.errors import UserError
from pipeline.hashing import sha256_json
from pipeline.links import Link
from pipeline.methods import Method, implementation
from pipeline.plugins import METHODS, made_by
from pipeline.progress import Progress
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.train.fit import CODE_VERSION, Job, TrainResult, fit
from pipeline.train.objective import Objective
from pipeline.train.settings import ScheduleSettings
from pipeline.train.tables import joined_spaces


@dataclass(frozen=True)
class LinkJob:
    """A link and what its part of the connected space is made from.

    Attributes:
        link: What is joined.
        method: By which method.
        settings: What params.yaml says under `train`.
        stores: Its sets of pairs.
        output: Folder for its files and, last, ``config.json``.
        replaces: Files that hold no longer once there is something to do.
        seed: Seed of every draw.
        threads: CPU threads, which the order of additions depends on.
        device: Where to compute, such as ``cpu`` or ``cuda:0``.
        progress: Receives the steps.
        specs: By space of the link: the fields of its `SpaceSpec`, as params.yaml has them.
    """

    link: Link
    method: Method
    settings: Settings
    stores: tuple[Store, ...]
    output: Path
    replaces: tuple[Path, ...]
    seed: int
    threads: int
    device: str
    progress: Progress
    specs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def config(
        self, spaces: Mapping[str, Mapping[str, Any]], projectors: Mapping[str, ProjectorSpec]
    ) -> ConnectionConfig:
        """The configuration of the link, before it has files.

        Args:
            spaces: What the embedding stores say about each space.
            projectors: By space; none where the method needs none.
        """
        # How often a checkpoint is written changes no number: with another value the result stays valid. In which
        # precision it was trained is recorded beside the device.
        left_out = {"checkpoint_every"} | ({"precision"} if isinstance(self.settings, ScheduleSettings) else set())
        if getattr(self.settings, "tables", "fp32") == "fp32":
            left_out.add("tables")  # which earlier versions did not know
        train = self.settings.model_dump(mode="json", exclude=left_out)
        pairs = sha256_json([store.content_hash for store in self.stores])
        return ConnectionConfig.model_validate(
            {
                "code": CODE_VERSION,
                "connection": self.link.connection,
                "method": self.method.name,
                "spaces": spaces,
                "links": [TrainedLink(**self.link.model_dump(), train=train, pairs=pairs).model_dump()],
                "projectors": {space: spec.model_dump() for space, spec in projectors.items()},
                "seed": self.seed,
                "threads": self.threads,
                **made_by(METHODS, self.method.name),
            }
        )


def train_link(job: LinkJob) -> TrainResult:
    """Train the projectors of a link, or continue, or find that nothing is to do.

    Raises:
        UserError: The pairs were made for another method or link, or are fewer than one batch;
            or the loss is not a finite number.
    """
    link, settings = job.link, job.settings
    assert isinstance(settings, ScheduleSettings)
    spaces = joined_spaces(job.stores, link, job.method.name)
    head = settings.projector
    outputs = head.outputs(int(spaces[link.base]["dimension"]) if link.base else 0)
    projectors = {
        space: ProjectorSpec(
            kind=head.kind,
            input=spaces[space]["dimension"],
            hidden=head.hidden,
            dimension=outputs,
            members=head.members(len(link.sets)),
        )
        for space in link.projected
    }
    objective = build_objective(job.method, link, spaces, settings)
    training = Job(job.config(spaces, projectors), objective, settings, head.init, job.stores, job.replaces)
    return fit(training, job.output, job.device, job.progress)


def build_objective(
    method: Method, link: Link, spaces: Mapping[str, Mapping[str, Any]], settings: ScheduleSettings
) -> Objective:
    """The objective of `method` for `link`.

    Raises:
        UserError: The link lacks what the method needs.
    """
    if method.needs_overlap and not link.overlap:
        raise UserError(f"{method.label} joins two spaces over a modality that both embed.", "Set `overlap`.")
    widths = {space: int(facts["dimension"]) for space, facts in spaces.items()}
    made: Objective = implementation(method.objective, "pipeline.train")(link, widths, settings)
    return made
