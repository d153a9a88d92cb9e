"""The whole of params.yaml as one typed, frozen object."""

import os
from typing import Annotated, Literal

from pydantic import Field

from pipeline.encode.settings import JobSettings, SpaceSettings
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.fetch.settings import FetchedRepository
from pipeline.params.connection import AnyConnection
from pipeline.report.settings import ReportSettings
from pipeline.settings import Settings
from pipeline.shard.settings import CorpusSettings, Limits


class RunSettings(Settings):
    """How work is done, not what: no DVC stage depends on it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        2,
        description="Samples that are decoded at the same time, while the model computes; auto: as many as this process has cores.",
    )
    decode: Literal["auto", "threads", "processes"] = Field(
        "auto",
        description="Where samples are decoded. In processes a file that makes its decoder crash or hang costs itself only; "
        "auto: processes on Linux, threads for text and elsewhere.",
    )

    ranks: int = Field(
        1,
        ge=1,
        description="Processes that train a connection together, each on a GPU of its own: for batches that outgrow one.",
    )

    @property
    def decoders(self) -> int:
        """`workers` as a number on this machine."""
        if self.workers != "auto":
            return self.workers
        # A container or a scheduler may leave a process fewer cores than the machine has; only Linux says which.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Params(Settings):
    """params.yaml: what is read, which spaces it goes through, how they are connected, what is measured."""

    seed: int = Field(0, ge=0)
    threads: int = Field(
        2,
        ge=1,
        description="CPU threads of the arithmetic; another number rounds sums differently, so it is part of the result.",
    )
    modalities: dict[
        Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,30}$")],
        Annotated[str, Field(pattern=r"^\*(\.[A-Za-z0-9_-]+)+$")],
    ] = Field(
        default_factory=dict,
        description='Modalities of your own beside text, image, audio and point, with the names of their files: `tactile: "*.tactile.png"`.',
    )
    corpora: dict[str, CorpusSettings]
    limits: Limits = Limits()
    spaces: dict[str, SpaceSettings]
    encode: dict[str, JobSettings]
    connections: dict[str, AnyConnection]
    evaluate: EvaluateSettings
    report: ReportSettings = ReportSettings()
    run: RunSettings = RunSettings()
    fetch: dict[str, list[FetchedRepository]] = Field(
        default_factory=dict, description="Published files that `mcr fetch` gets; no stage depends on it."
    )
