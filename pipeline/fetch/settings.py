"""Settings of `mcr fetch`: which files, of which repositories of the Hugging Face Hub, belong where."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings, Sha256


class FetchedFile(Settings):
    """What is known of a file beforehand; what is not known is taken from the hub and told."""

    bytes: int | None = Field(None, ge=0, description="Its size.")
    about: int | None = Field(
        None, ge=0, description="Its approximate size, if no exact one is known: shown, never checked."
    )
    sha256: Sha256 = Field("", description="Its hash.")
    optional: bool = Field(False, description="Continue without it if the repository does not have it.")


class FetchedRepository(Settings):
    """Files of one repository, and the folder that they are put into under their own names."""

    repository: str = Field(pattern="^[^/ ]+/[^/ ]+$", description="owner/name on the hub.")
    kind: Literal["model", "dataset"] = Field("model", description="Whether the hub keeps it under datasets/.")
    revision: str = Field(min_length=1, description="The commit; a branch is resolved to one, which is recorded.")
    licence: str = Field(min_length=1, description="What its owner says, or `unknown`.")
    access: str = Field("", description="What access requires: a login, a form, and where.")
    to: str = Field(min_length=1, description="Folder on this machine.")
    files: dict[str, FetchedFile] = Field(min_length=1, description="By path in the repository.")

    @property
    def recorded_as(self) -> str:
        """The repository as `Fetched` names it: data sets below ``datasets/``."""
        return f"datasets/{self.repository}" if self.kind == "dataset" else self.repository

    @field_validator("files")
    @classmethod
    def _are_files(cls, files: dict[str, FetchedFile]) -> dict[str, FetchedFile]:
        for path in files:
            if PurePosixPath(path).is_absolute() or {"", ".", ".."} & set(path.split("/")):
                raise ValueError(f"{path!r} is not the path of a file in a repository")
        return files

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [PurePosixPath(path).name for path in self.files]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(twice)} would be written twice to {self.to}: list its folders as two repositories")
        return self


def total_size(repositories: Iterable[FetchedRepository]) -> str:
    """What the files of `repositories` cost, as far as that is known beforehand."""
    # A list: two repositories may have files of one path, such as test/0.tar.
    files = [(path, file) for repository in repositories for path, file in repository.files.items()]
    known = sum(file.bytes or file.about or 0 for _, file in files)
    large = f"{known / 1e9:,.1f} GB" if known >= 1e9 else f"{known / 1e6:,.1f} MB"
    unknown = [path for path, file in files if file.bytes is None and file.about is None]
    # Settings and vocabularies weigh next to nothing; of everything else it should be said.
    heavy = [PurePosixPath(path).name for path in unknown if not path.endswith((".json", ".txt"))]
    parts = [f"{'about ' * any(file.bytes is None for _, file in files)}{large}"] if known else []
    return " and ".join([*parts, *(f"{name} of unknown size" for name in heavy)]) or "a few small files"
