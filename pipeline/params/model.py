"""The whole of params.yaml as one typed, frozen object."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.encode.settings import JobSettings, SpaceSettings
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.fetch.settings import FetchedRepository
from pipeline.links import Link
from pipeline.params.connection import AnyConnection
from pipeline.params.storage import StorageSettings
from pipeline.report.settings import ReportSettings
from pipeline.settings import Settings
from pipeline.shard.settings import CorpusSettings, Limits

# Threads, decoding processes, workers, ranks: as many are started as are asked for, and some thousands bring a machine to a halt.
MOST_AT_ONCE = 1024


class RunSettings(Settings):
    """How work is done, not what: no DVC stage depends on it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] | Literal["auto"] = Field(
        2,
        description="Samples decoded at the same time, while the model computes; auto: as many as this process has cores.",
    )
    decode: Literal["auto", "threads", "processes"] = Field(
        "auto",
        description="Where samples are decoded. In processes, a file that crashes or hangs its decoder is rejected and affects no other; "
        "auto: processes on Linux, but threads for texts that a CPU embeds; threads elsewhere.",
    )
    engine: Literal["local", "ray"] = Field(
        "local", description="Where parts are made: on this machine, or on those of a Ray cluster."
    )
    devices: Literal["auto", "cpu"] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        "auto",
        description="auto: what `device` says, every GPU if it is a GPU; cpu; or the numbers of GPUs, such as [0, 1, 3].",
    )
    processes: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] | Literal["auto"] = Field(
        "auto",
        description="Worker processes on CPUs, each with `threads`; on GPUs there is one for each. auto: on this machine none "
        "beside `mcr` itself, in a cluster as many as its cores hold.",
    )
    address: str = Field("", description="Of the Ray cluster; empty: one is started on this machine.")
    time_limit: float = Field(
        900, gt=0, description="Seconds without any progress after which a worker process is ended."
    )
    memory: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="GB that a worker process may use for a part; auto: its share of the free memory when it starts.",
    )
    divide: Literal["queries", "memory"] = Field(
        "queries",
        description="What several GPUs divide in retrieval: the queries, each GPU with the whole memory; or a memory that does not fit one.",
    )
    ranks: int = Field(
        1,
        ge=1,
        le=MOST_AT_ONCE,
        description="Processes that train a connection together, each on its own GPU, for batches that do not fit one.",
    )

    @model_validator(mode="after")
    def _devices_of_one_kind(self) -> Self:
        listed = not isinstance(self.devices, str)
        if self.devices == "cpu" and self.device == "cuda":
            raise ValueError("devices is cpu, but device is cuda")
        if listed and self.device == "cpu":
            raise ValueError("devices names GPUs, but device is cpu")
        if listed and self.engine == "ray":
            raise ValueError("the cluster decides which GPUs are used: set devices to auto or cpu")
        if listed and len(set(self.devices)) < len(self.devices):
            raise ValueError("devices names a GPU twice")
        return self

    @property
    def decoders(self) -> int:
        """`workers` as a number on this machine."""
        from pipeline.store.threads import available_cores  # not at the top: it imports NumPy and Arrow

        return available_cores() if self.workers == "auto" else self.workers


def _below_data(entry: FetchedRepository) -> FetchedRepository:
    parts = PurePosixPath(entry.to).parts
    # Anywhere else, such as in plugins/ or a home, a file of a recipe from elsewhere could be run.
    if parts[:1] != ("data",) or ".." in parts:
        raise ValueError(
            f"`to` is {entry.to}, which is not below data/; for another disk, make a folder there a link to it"
        )
    return entry


class Params(Settings):
    """params.yaml: what is read, which spaces it goes through, how they are connected, what is measured."""

    seed: int = Field(0, ge=0)
    threads: int = Field(
        2,
        ge=1,
        le=MOST_AT_ONCE,
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
    storage: StorageSettings = StorageSettings()
    fetch: dict[str, list[Annotated[FetchedRepository, AfterValidator(_below_data)]]] = Field(
        default_factory=dict, description="Published files that `mcr fetch` gets; no stage depends on it."
    )

    @property
    def links(self) -> dict[str, tuple[Link, ...]]:
        """By connection: its links."""
        return {name: connection.links(name) for name, connection in self.connections.items()}
