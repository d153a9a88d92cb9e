"""A corpus that need not exist, described by its size."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipeline.errors import UserError
from pipeline.files.plain_yaml import read_yaml
from pipeline.settings import Settings, first_problem


class DescribedCorpus(Settings):
    """A corpus by its size, and what is done with it. The defaults are images as img2dataset keeps them for ViT-B/32."""

    samples: float = Field(ge=1, description="How many samples.")
    bytes_per_sample: float = Field(41_000, gt=0, description="Mean size of a sample in its shard.")
    samples_per_shard: int = Field(10_000, ge=1, description="Samples in one shard.")
    width: int = Field(512, ge=1, description="Width of the embeddings.")
    store_as: Literal["float32", "float16"] = Field("float32", description="Numbers in the stores.")
    operations_per_sample: float = Field(
        8.8e9, gt=0, description="Floating-point operations of the tower for a sample."
    )
    memory: float = Field(
        2e6, ge=1, description="Samples of a memory, at most: retrieval is linear in the corpus only then."
    )
    pairs: float = Field(2e6, ge=1, description="Pairs that are trained on, at most.")
    batch_size: int = Field(4096, ge=2, description="Pairs in one step of training.")
    epochs: int = Field(36, ge=1, description="Times that training goes through the pairs.")


def described(said: str) -> DescribedCorpus:
    """The corpus that ``--scale`` names: a number of samples, or a YAML file with the fields of `DescribedCorpus`.

    Raises:
        UserError: It is neither.
    """
    try:
        content: object = {"samples": float(said)}
    except ValueError:
        if not Path(said).suffix:
            raise UserError(
                f"{said!r} is neither a number of samples nor a file.",
                "Write a number such as 5.85e9, or name a .yaml file.",
            ) from None
        content = read_yaml(Path(said)).content
    try:
        return DescribedCorpus.model_validate(content)
    except ValidationError as error:
        fields = ", ".join(DescribedCorpus.model_fields)
        raise UserError(f"{said}: {first_problem(error, 'all of it')}.", f"It has the fields {fields}.") from error
