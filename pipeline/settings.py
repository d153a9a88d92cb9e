"""Base of all settings that a user can write in params.yaml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Modality = Literal["text", "image", "audio", "point"]


class Settings(BaseModel):
    """A frozen group of settings; a key that it does not know is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
