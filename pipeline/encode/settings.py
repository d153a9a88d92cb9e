"""Settings of the `encode` stage."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Settings, Sha256


class SpaceSettings(Settings):
    """A frozen space and how it is run."""

    encoder: str = Field(min_length=1, description="Encoder family.")
    checkpoint: str = Field(min_length=1, description="File, folder or hub reference of the weights.")
    model: str = Field("", description="Architecture name within the family.")
    sha256: Sha256 = Field("", description="Expected hash of the checkpoint.")
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = Field(
        "fp32", description="Of weights and activations; `tf32` is fp32 whose products a GPU may round to 10 bits."
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        256,
        description="Samples per forward pass; part of the result's last bits. auto: measured once for each corpus and "
        "modality, recorded with the embeddings, and reused.",
    )
    store_as: Literal["float32", "float16"] = Field(
        "float32",
        description="Numbers in the embedding stores: float16 takes half the bytes and rounds each to 11 bits; readers compute "
        "in float32. Changing it re-encodes everything.",
    )
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="Settings of the family.")

    @property
    def samples_at_once(self) -> int:
        """`batch_size` as a number; 0 where it is to be found out."""
        return 0 if self.batch_size == "auto" else self.batch_size


class JobSettings(Settings):
    """One encode job: this corpus through this space."""

    space: str
    corpus: str
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Preprocessing of this corpus, in place of the space's `options` of the same "
        "names: points, sampling, normalisation, crop, background. Options that change the model are refused.",
    )
