"""Base of all settings that a user can write in params.yaml."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

Modality = Literal["text", "image", "audio", "point"]


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
