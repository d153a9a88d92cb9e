"""A connection: frozen spaces joined by one method, each pair of them over a modality that both embed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from pipeline.retrieve.settings import CouplingRetrieveSettings, LeafRetrieveSettings, Memory, RetrieveSettings
from pipeline.settings import Modality, Settings
from pipeline.train.settings import (
    CouplingTrainSettings,
    LeafCouplingTrainSettings,
    LeafTrainSettings,
    TrainSettings,
)

AnySettings = TypeVar("AnySettings", bound=Settings)


class Link(Settings):
    """What two spaces are joined by: a modality that both embed, and unpaired data of each."""

    overlap: Modality | None = Field(None, description="Modality that both spaces embed (not of the oracle).")
    queries: tuple[str, ...] = Field((), description="Corpora of the overlapping modality.")
    memories: dict[str, Memory] = Field(description="By space: what its pseudo-partners are made from.")


class TwoSpaces(Link):
    """Two spaces, each with a projector into a new space."""

    spaces: tuple[str, str]

    @property
    def links(self) -> Mapping[str, Link]:
        """The one link between the two spaces, under no name."""
        return {"": self}


class Leaf(Link):
    """A space that Ex-MCR projects into the base; linked to it as two spaces are in C-MCR."""

    retrieve: LeafRetrieveSettings | None = Field(None, description="What differs from the connection's `retrieve`.")
    train: LeafTrainSettings | None = Field(None, description="What differs from the connection's `train`.")


class BaseAndLinks(Settings):
    """A space that stays as it is, and any number of spaces that are projected into it."""

    base: str = Field(description="The space that all leaves are projected into; it has no projector.")
    leaves: Annotated[Mapping[str, Link], Field(min_length=1)] = Field(description="By space: how it joins the base.")

    @property
    def spaces(self) -> tuple[str, ...]:
        """The base, then the leaves."""
        return (self.base, *self.leaves)

    @property
    def links(self) -> Mapping[str, Link]:
        """The link of each leaf to the base."""
        return self.leaves


class BaseAndLeaves(BaseAndLinks):
    """A base and leaves, each of which may be made and trained in its own way."""

    leaves: Annotated[Mapping[str, Leaf], Field(min_length=1)] = Field(description="By space: how it joins the base.")


# Every connection has the same four keys, whatever its method: dvc.yaml names them, and DVC refuses a key that is
# not there.


class PairConnection(Settings):
    """C-MCR, or the oracle."""

    method: Literal["cmcr", "oracle"] = Field(
        description="C-MCR; or the oracle, which is trained on true pairs and bounds what any method can reach."
    )
    join: TwoSpaces
    retrieve: RetrieveSettings
    train: TrainSettings


class CouplingConnection(Settings):
    """Coupling: real samples of both memories become each other's partners."""

    method: Literal["coupling"] = Field(description="Coupling of real samples, our own method.")
    join: TwoSpaces
    retrieve: CouplingRetrieveSettings
    train: CouplingTrainSettings


class ExMcrConnection(Settings):
    """Ex-MCR: a base that stays as it is, and any number of leaves, trained independently of each other."""

    method: Literal["exmcr"] = Field(description="Ex-MCR.")
    join: BaseAndLeaves
    retrieve: LeafRetrieveSettings
    train: LeafTrainSettings

    def sets_of(self, leaf: str) -> tuple[str, ...]:
        """Folders of the leaf's sets of pseudo-pairs below ``data/pairs/<connection>/<leaf>``."""
        return self.retrieve_of(leaf).sets

    def retrieve_of(self, leaf: str) -> LeafRetrieveSettings:
        """The connection's settings with what the leaf changes."""
        return _changed(self.retrieve, self.join.leaves[leaf].retrieve)

    def train_of(self, leaf: str) -> LeafTrainSettings:
        """The connection's settings with what the leaf changes."""
        return _changed(self.train, self.join.leaves[leaf].train)


class ExCouplingConnection(Settings):
    """Coupling into a base that stays as it is: Ex-MCR's projector, taught by real samples that are partners."""

    method: Literal["excoupling"] = Field(description="Coupling into a base that stays as it is, our own method.")
    join: BaseAndLinks
    retrieve: CouplingRetrieveSettings
    train: LeafCouplingTrainSettings

    def sets_of(self, leaf: str) -> tuple[str, ...]:
        """One set, in the leaf's own folder."""
        return ("",)

    def retrieve_of(self, leaf: str) -> CouplingRetrieveSettings:
        """The same for all leaves."""
        return self.retrieve

    def train_of(self, leaf: str) -> LeafCouplingTrainSettings:
        """The same for all leaves."""
        return self.train


BaseConnection = ExMcrConnection | ExCouplingConnection
Connection = Annotated[PairConnection | CouplingConnection | BaseConnection, Field(discriminator="method")]


def _changed(settings: AnySettings, changes: Settings | None) -> AnySettings:
    """`settings` with every value that `changes` sets explicitly, group by group."""
    update: dict[str, Any] = {}
    for name in changes.model_fields_set if changes else ():
        before, after = getattr(settings, name), getattr(changes, name)
        update[name] = _changed(before, after) if isinstance(before, Settings) else after
    return settings.model_copy(update=update)
