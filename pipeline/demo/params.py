"""The settings of the demo world, as written in data/demo/params.yaml."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from pipeline.demo.scenes import LARGEST_CORPUS, LARGEST_HELDOUT
from pipeline.errors import UserError
from pipeline.files.plain_yaml import read_yaml
from pipeline.settings import Settings, first_problem

Size = Annotated[int, Field(ge=1, le=LARGEST_CORPUS)]


class Sizes(Settings):
    """Number of scenes in each corpus."""

    photos: Size
    sounds: Size
    shapes: Size
    captions: Size
    heldout: Annotated[int, Field(ge=1, le=LARGEST_HELDOUT)]
    pairs: Size


class Pretraining(Settings):
    """How one space is trained.

    Attributes:
        scenes: Number of training scenes.
        captions: Captions written for each scene; every epoch takes the next one.
        epochs: Passes over the scenes.
        batch: Scenes in a step; an incomplete last batch is left out.
        learning_rate: Peak of the one-cycle schedule.
        dimension: Width of the space.
    """

    scenes: Size
    captions: PositiveInt
    epochs: PositiveInt
    batch: Annotated[int, Field(ge=2)]
    learning_rate: PositiveFloat
    dimension: PositiveInt

    @model_validator(mode="after")
    def _one_step_an_epoch(self) -> Self:
        if self.batch > self.scenes:
            raise ValueError(f"a batch of {self.batch} needs at least as many scenes, there are {self.scenes}")
        return self


class Pretrain(Settings):
    """How each space is trained."""

    clip: Pretraining
    clap: Pretraining
    ulip: Pretraining


class DemoParams(Settings):
    """Everything that the demo world depends on.

    Attributes:
        seed: Seed of all scenes, renderings and trainings.
        threads: Threads of torch in pretraining; sums differ in the last bit between thread counts.
        sizes: Scenes in each corpus.
        pretrain: Training of each space.
    """

    seed: Annotated[int, Field(ge=0)]
    threads: PositiveInt
    sizes: Sizes
    pretrain: Pretrain


def read_params(path: Path) -> DemoParams:
    """Read and check the settings at `path`.

    Raises:
        UserError: No such file, or it does not say what the demo world needs.
    """
    content = read_yaml(path).content
    try:
        return DemoParams.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, 'the file')}.", "Correct that setting.") from None
