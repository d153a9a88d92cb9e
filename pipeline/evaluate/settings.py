"""Settings of the `evaluate` stage."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.settings import SHARPEST, Modality, Settings

TEXT: Modality = "text"


class Labels(Settings):
    """A table (.csv, .tsv, .jsonl, .parquet) that names the class of each sample; a key with several classes has several rows."""

    table: str = Field(description="File in data/annotations.")
    key: str = Field("key", description="Column of the samples' keys.")
    column: str = Field("label", description="Column of the classes.")


class PublishedNumber(Settings):
    """A number that somebody published for the same task; the page shows ours beside it."""

    of: str = Field(description="Whose number it is: a connection, a baseline, or frozen_<space>.")
    metric: str = Field(description="Its name in the metrics, such as R@1 or top-1.")
    direction: str = Field("mean", description="Such as text->image, or the mean of both.")
    value: float | None = Field(None, description="In per cent if it is a share; omitted if unknown.")
    source: str = Field(min_length=1, description="Where it was published, or why it is unknown.")


class MethodsTask(Settings):
    """What all tasks have in common: the methods that they compare."""

    connections: tuple[str, ...] = Field((), description="Connected spaces to measure.")
    through: dict[Modality, str] = Field(
        {},
        description="By modality: the frozen space that embeds it, if several can. By default the task's `space`, so "
        "that every row compares the same towers, or else the connection's first space that embeds it.",
    )
    space: str = Field("", description="Frozen space measured by itself: a ceiling, or what a connection should keep.")
    baselines: str = Field("", description="Connection whose unpaired data the training-free baselines use.")
    expected: tuple[PublishedNumber, ...] = Field((), description="Published numbers, for the report.")

    @property
    def pair(self) -> tuple[Modality, Modality]:
        """The two modalities that are compared."""
        raise NotImplementedError

    def corpus_of(self, modality: str) -> str:
        """The corpus that a modality is taken from."""
        raise NotImplementedError

    @property
    def dataset(self) -> str:
        """What the results are said to be measured on."""
        return self.corpus_of(self.pair[0])

    @property
    def tables(self) -> list[str]:
        """Files in data/annotations that it reads."""
        return [setting.table for _, setting in self if isinstance(setting, Labels)]

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not (self.connections or self.space or self.baselines):
            raise ValueError("a task needs `connections`, a `space` or `baselines`")
        return self


class PairTask(MethodsTask):
    """Two modalities of one evaluation set."""

    corpus: str = Field(description="Evaluation set that holds both modalities under the same keys.")
    corpora: dict[Modality, str] = Field({}, description="By modality: another corpus to take that modality from.")
    modalities: tuple[Modality, Modality]
    only: Labels | None = Field(None, description="Use only the samples for which this column is true.")
    item_separator: str = Field(
        "", description="Keys equal up to its last occurrence show one item (`dog_0`, `dog_1`); empty: equal keys do."
    )

    @property
    def pair(self) -> tuple[Modality, Modality]:
        """The two modalities."""
        return self.modalities

    def corpus_of(self, modality: str) -> str:
        """The corpus of a modality: the evaluation set, unless the task says otherwise."""
        return {str(name): corpus for name, corpus in self.corpora.items()}.get(modality, self.corpus)

    @property
    def one_corpus(self) -> bool:
        """Whether both modalities are from one corpus."""
        return len({self.corpus_of(modality) for modality in self.pair}) == 1

    @property
    def dataset(self) -> str:
        """The evaluation set."""
        return self.corpus

    @model_validator(mode="after")
    def _compares_two(self) -> Self:
        if self.modalities[0] == self.modalities[1]:
            raise ValueError("a task needs two different modalities")
        return self


class RetrievalTask(PairTask):
    """Cross-modal retrieval between two modalities of an evaluation set, both directions."""

    task: Literal["retrieval"]
    labels: Labels | None = Field(
        None,
        description="Classes of both modalities; then every sample of the query's class is right, not its item only.",
    )

    repeated: Literal["stop", "keep"] = Field(
        "stop",
        description="A picture, sound or shape that looks exactly like another item of a corpus of its own: stop, since each counts as a wrong answer for the other, "
        "or keep them as separate items, as published protocols do.",
    )
    hub_temperature: float | None = Field(
        None,
        ge=SHARPEST,
        description="Measure each connection also with its similarity corrected for hubs: an inverted softmax at this "
        "temperature against the connection's unpaired memories.",
    )

    @property
    def directions(self) -> tuple[str, str]:
        """Names of both directions, the query's modality first."""
        first, second = self.modalities
        return f"{first}->{second}", f"{second}->{first}"


class GeometryTask(PairTask):
    """Shape of the space: modality gap, alignment of true pairs, uniformity and hubness of both modalities."""

    task: Literal["geometry"]
    neighbours: int = Field(10, ge=1, description="k of the k-occurrence whose skewness is the hubness.")


def _not_text(modality: str) -> str:
    if modality == TEXT:
        raise ValueError("Text is what the prompts are; name the modality of the samples")
    return modality


class PromptedTask(MethodsTask):
    """Samples of one modality, and classes that are described by texts."""

    corpus: str = Field(description="Evaluation set.")
    modality: Annotated[Modality, AfterValidator(_not_text)]
    labels: Labels
    prompts: str = Field(description="Text corpus of the prompts, with keys `<class>-<n>`.")
    prompt_separator: str = Field(
        "-", min_length=1, description="The key of a prompt up to its last occurrence is the class."
    )

    @property
    def pair(self) -> tuple[Modality, Modality]:
        """The samples' modality, and text."""
        return self.modality, TEXT

    def corpus_of(self, modality: str) -> str:
        """The evaluation set, or the prompts."""
        return self.prompts if modality == TEXT else self.corpus


class ClassificationTask(PromptedTask):
    """Zero-shot classification: the nearest of the classes' prompts, one class for each sample."""

    task: Literal["classification"]
    top: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 3, 5)


class TaggingTask(PromptedTask):
    """Zero-shot tagging: the samples ranked for each class, any number of classes for each sample."""

    task: Literal["tagging"]


class LocalisationTask(MethodsTask):
    """Where in a picture a sound comes from: crops of the picture, scored by the sound.

    With pictures that do not show what sounds, also whether that is noticed (counterfactual recognition).
    """

    task: Literal["localisation"]
    corpus: str = Field(description="Corpus of the sounds.")
    crops: str = Field(description="Image corpus of the crops, with keys `<picture>-<n>`.")
    crop_separator: str = Field(
        "-", min_length=1, description="The key of a crop up to its last occurrence is the picture."
    )
    proposals: str = Field(description="Table of the crops' boxes in data/annotations: key, x0, y0, x1, y1.")
    regions: str = Field(
        description="Table in data/annotations: audio, image, x0, y0, x1, y1, a row for each box; "
        "empty boxes if the picture does not show the source of the sound."
    )
    agreement: int = Field(1, ge=1, description="Annotators who must agree on a place: 2 for Flickr-SoundNet, else 1.")
    readout: Literal["box", "map"] = Field(
        "box", description="The best crop is the answer (C-MCR), or the upper half of a map of all crops (EZ-VSL)."
    )
    protocol: Literal["textbook", "slavc"] = Field(
        "textbook",
        description="AP and max-F1 over every threshold, or over those of SLAVC's code, as in the papers' tables; the "
        "metrics are then called AP-slavc and max-F1-slavc.",
    )

    @property
    def pair(self) -> tuple[Modality, Modality]:
        """Sounds look for crops."""
        return "audio", "image"

    def corpus_of(self, modality: str) -> str:
        """The sounds, or the crops."""
        return self.crops if modality == "image" else self.corpus

    @property
    def tables(self) -> list[str]:
        """Boxes of the crops, and where the sources are."""
        return [self.proposals, self.regions]


Task = Annotated[
    RetrievalTask | ClassificationTask | TaggingTask | GeometryTask | LocalisationTask, Field(discriminator="task")
]


MOST_HEADLINES = 30
# Of so many, one lies outside an interval of 95 %; of a single one the interval has no width.
FEWEST_RESAMPLES = 20


def _enough(resamples: int) -> int:
    if 0 < resamples < FEWEST_RESAMPLES:
        raise ValueError(f"so few draws make no interval; use {FEWEST_RESAMPLES} or more, or 0 for none")
    return resamples


Headline = Annotated[str, Field(pattern="^[^./][^/.]{0,23}$")]
Measurement = Annotated[str, Field(pattern="^[^/]+/[^/]+/[^/]+(/[^/]+)?$")]


class EvaluateSettings(Settings):
    """What is measured."""

    recall_at: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 5, 10)
    bootstrap: Annotated[int, AfterValidator(_enough)] = Field(
        1000,
        ge=0,
        description=f"Resamples of the items for the 95 % intervals, {FEWEST_RESAMPLES} or more; 0: no intervals.",
    )
    examples: int = Field(12, ge=0, description="Queries per direction whose neighbours are kept.")
    baseline_rows: int = Field(
        100_000, ge=2, description="Rows per store, evenly spread, that the training-free baselines use at most."
    )
    headlines: dict[Headline, Measurement] = Field(
        {},
        max_length=MOST_HEADLINES,
        description="Numbers that `dvc metrics` shows, by a short name: task/contender/metric, or with /direction; a "
        "contender is a connection, a baseline or frozen_<space>. By default one number for each connection.",
    )
    tasks: dict[str, Task]

    @property
    def corpora(self) -> dict[str, dict[str, str]]:
        """By task and modality: the corpus that is measured."""
        return {
            name: {str(modality): task.corpus_of(modality) for modality in task.pair}
            for name, task in self.tasks.items()
        }
