"""Base of all settings that a user can write in params.yaml."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.modalities import MODALITIES

DECLARED = "modalities"
"""Key of the validation's context under which the parameters declare modalities: their patterns by name."""


def declared(info: ValidationInfo) -> Mapping[str, str]:
    """The modalities that the parameters declare."""
    return info.context.get(DECLARED, {}) if isinstance(info.context, Mapping) else {}


def first_problem(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong, behind the path of its field; behind `whole` where it is of no single field."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def one_of(name: str, known: Sequence[str]) -> str:
    """`name` if it is one of the `known` ones; otherwise the error that pydantic has for a `Literal` of them."""
    if name not in known:
        *first, last = map(repr, known)
        expected = f"{', '.join(first)} or {last}"
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return name


def _known_modality(name: str, info: ValidationInfo) -> str:
    return one_of(name, [*MODALITIES, *declared(info)])


_NAMES = {"type": "string", "anyOf": [{"enum": list(MODALITIES)}, {"pattern": "^[a-z][a-z0-9_]*$"}]}
Modality = Annotated[str, AfterValidator(_known_modality), WithJsonSchema(_NAMES)]


# The least temperature of a softmax: cosines in float32 are no closer than this, and of 1e-40 the inverse is infinite.
SHARPEST = 1e-7


# Windows' own tools print hashes in capitals.
Sha256 = Annotated[str, Field(pattern="^([0-9a-fA-F]{64})?$"), AfterValidator(str.lower)]


class Settings(BaseModel):
    """A frozen group of settings; a key that it does not know is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed_by(self, changes: "Settings | None") -> Self:
        """These settings with every value that `changes` sets explicitly, group by group."""
        update: dict[str, Any] = {}
        for name in changes.model_fields_set if changes else ():
            before, after = getattr(self, name), getattr(changes, name)
            update[name] = before.changed_by(after) if isinstance(before, Settings) else after
        return self.model_copy(update=update)
