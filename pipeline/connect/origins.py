"""``origins.json`` of a published connection: where its frozen spaces come from, so that anybody can load them again."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationError

from pipeline.errors import UserError
from pipeline.files.atomic import write_text
from pipeline.files.reading import read_bytes
from pipeline.settings import Settings, Sha256, first_problem
from pipeline.spaces.weights.hub import HUB

ORIGINS_NAME = "origins.json"
INCLUDED = "spaces"  # the folder of the weights that are published with a connection
SCHEMA_VERSION: Final = 1


def inside(name: str) -> str:
    """`name`, a path that cannot lead out of its folder: what is published comes from anybody.

    Raises:
        ValueError: It can.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or name != str(path):
        raise ValueError(f"{name!r} is not a path within a folder")
    return name


Inside = Annotated[str, AfterValidator(inside)]


class OriginFile(Settings):
    """One file of a frozen space.

    Attributes:
        sha256: Hash of its bytes.
        repository: ``owner/name`` on the Hugging Face Hub; empty where it is from nobody knows where.
        revision: Commit of the repository.
        path: Where it is there.
    """

    sha256: Sha256 = Field(min_length=1)
    repository: str = Field("", pattern="^([A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
    revision: str = ""
    path: Inside = "."


class Origin(Settings):
    """Where one frozen space comes from.

    Attributes:
        reference: What its family understands by itself: ``hf-hub:owner/name``, or the name of published weights. Empty
            where it is files.
        checkpoint: The file that the family is given, among `files`; ``.`` for the folder that holds them.
        files: By name in that folder.
        within: Folder of the published connection that holds `files`; empty where they are fetched.
        licences: What those who published the weights say.
    """

    reference: str = Field("", pattern=f"^(({HUB})?[A-Za-z0-9][A-Za-z0-9._/@-]*)?$")
    checkpoint: Inside = "."
    files: dict[Inside, OriginFile] = Field(default_factory=dict)
    within: Inside = "."
    licences: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the space can be loaded by somebody who has nothing but this."""
        return bool(self.reference) or self.within != "." or all(file.repository for file in self.files.values())

    @property
    def said(self) -> str:
        """Where it is from, in a few words."""
        if self.reference:
            return self.reference
        if self.within != ".":
            return f"in this folder: {self.within}"
        places = dict.fromkeys(
            f"{file.repository}@{file.revision[:12]}" for file in self.files.values() if file.repository
        )
        return ", ".join(places) if self.is_known and places else "files of whoever trained this"


class Origins(Settings):
    """Content of ``origins.json``.

    Attributes:
        keep: Weight of the frozen spaces as blocks of their own, or by space, see `pipeline.connect.own_blocks`.
        combine: Factors of the leaves by modality, see `pipeline.connect.combined`; not written where there are none.
        spaces: By space.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    keep: Annotated[float, Field(ge=0, lt=1)] | dict[str, Annotated[float, Field(gt=0, lt=1)]] = 0.0
    combine: dict[str, float] = Field({}, exclude_if=lambda factors: not factors)
    spaces: dict[str, Origin]

    def save(self, folder: Path) -> None:
        """Write them to `folder` atomically."""
        write_text(folder / ORIGINS_NAME, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def load_origins(folder: Path) -> Origins:
    """Read ``origins.json`` in `folder`, which may come from anybody.

    Raises:
        UserError: It is none, or names something outside of its folder.
    """
    path = folder / ORIGINS_NAME
    try:
        return Origins.model_validate_json(read_bytes(path))
    except ValidationError as error:
        problem = first_problem(error, "all of it")
        raise UserError(f"{path} is not valid: {problem}.", "Fetch it again, or ask its publisher.") from error
