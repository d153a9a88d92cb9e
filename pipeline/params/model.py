"""The whole of params.yaml as one typed, frozen object."""

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
    workers: int = Field(2, ge=1, description="Samples that are decoded at the same time, while the model computes.")
    decode: Literal["auto", "threads", "processes"] = Field(
        "auto",
        description="Where samples are decoded. In processes a file that makes its decoder crash or hang costs itself only; "
        "auto: processes on Linux, threads for text and elsewhere.",
    )


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
