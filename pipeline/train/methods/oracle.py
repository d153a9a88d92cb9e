"""The oracle: the same projectors trained on true pairs, the bound that no unpaired method can pass."""

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.links import Link
from pipeline.train.losses import symmetric_info_nce
from pipeline.train.objective import DrawsFirst
from pipeline.train.settings import TrainSettings


class Oracle(DrawsFirst):
    """Symmetric InfoNCE between true pairs at temperature `temperature_pseudo`.

    No noise: with it the oracle stops well below what true pairs allow and makes other methods look better than they
    are. The settings of noise, overlap and intra-MCR alignment do not apply.
    """

    terms: tuple[str, ...] = ("loss",)
    repeats = True

    def __init__(self, link: Link, widths: Mapping[str, int], settings: TrainSettings) -> None:
        self.temperature = settings.temperature_pseudo
        self.spaces = link.spaces
        self.columns = tuple(link.memory_column(space) for space in link.spaces)

    def loss_terms(
        self, projectors: Mapping[str, nn.Module], batch: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The loss for a batch of true pairs."""
        first, second = (
            projectors[space](batch[column]) for space, column in zip(self.spaces, self.columns, strict=True)
        )
        return {"loss": symmetric_info_nce(first, second, self.temperature)}
