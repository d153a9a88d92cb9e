"""Where shards, embeddings and pairs lie, if not in the folders of the project."""

import os
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.errors import UserError
from pipeline.files.address import checked_address
from pipeline.settings import Settings

KINDS = ("shards", "embeddings", "pairs")
FROM_ENVIRONMENT = "MCR_STORAGE"


def _address(said: str) -> str:
    return checked_address(said) if said else said


Address = Annotated[str, AfterValidator(_address)]


class StorageSettings(Settings):
    """Where files lie, not what is in them: nothing reruns when this changes, and a stage that runs moves its parts there."""

    address: Address = Field(
        "",
        description="Where shards, embeddings and pairs lie, in folders of these names: `s3://bucket/project`. Empty: the environment variable "
        "MCR_STORAGE, or else data/.",
    )
    shards: Address | None = Field(None, description="Where shards lie instead; an empty text: in data/shards.")
    embeddings: Address | None = Field(
        None, description="Where embeddings lie instead; an empty text: in data/embeddings."
    )
    pairs: Address | None = Field(None, description="Where pairs lie instead; an empty text: in data/pairs.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        said = [(kind, place) for kind in KINDS if (place := getattr(self, kind))]
        for (first, one), (second, other) in combinations(said, 2):
            if f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"):
                raise ValueError(f"{first} and {second} are nested; give each its own folder")
        return self

    def of(self, kind: Literal["shards", "embeddings", "pairs"], place: str) -> str:
        """The address of what is at `place` below data/<kind>; empty where it lies there.

        Raises:
            UserError: What the environment says is no address.
        """
        own: str | None = getattr(self, kind)
        if own is not None:
            return f"{own}/{place}" if own else ""
        base = self.address or _said_by_environment()
        return f"{base}/{kind}/{place}" if base else ""


def _said_by_environment() -> str:
    said = os.environ.get(FROM_ENVIRONMENT, "")
    try:
        return _address(said)
    except ValueError as error:
        raise UserError(f"{FROM_ENVIRONMENT} {error}.", "Correct or unset it.") from None
