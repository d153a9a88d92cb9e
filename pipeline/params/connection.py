"""A connection in params.yaml: frozen spaces joined by one method, and the links that follow from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import Field, create_model, model_validator

from pipeline.links import Keep, Link, Memory, Witness, name_of
from pipeline.methods import Method, implementation, method_called, methods
from pipeline.retrieve.settings import SearchSettings
from pipeline.settings import Modality, Settings


class MemorySettings(Settings):
    """The unpaired embeddings of one space that partners are made from."""

    modality: Modality
    corpora: tuple[str, ...] = Field((), description="Where they come from; a method that reads no data needs none.")


class LinkSettings(Settings):
    """What two spaces are joined by: a modality that both embed, and unpaired data of each."""

    overlap: Modality | None = Field(None, description="Modality that both spaces embed (not of the oracle).")
    queries: tuple[str, ...] = Field((), description="Corpora of the overlapping modality.")
    memories: dict[str, MemorySettings] = Field(description="By space: what its pseudo-partners are made from.")


class TwoSpaces(LinkSettings):
    """Two spaces, each with a projector into a new space."""

    spaces: tuple[str, str]

    @property
    def joined(self) -> Mapping[tuple[str, str], LinkSettings]:
        """By pair of spaces: what joins them."""
        return {self.spaces: self}


class BaseAndLeaves(Settings):
    """A space that stays as it is, and any number of spaces that are projected into it."""

    base: str = Field(description="The space that all leaves are projected into; it has no projector.")
    leaves: Annotated[Mapping[str, LinkSettings], Field(min_length=1)]

    @property
    def joined(self) -> Mapping[tuple[str, str], LinkSettings]:
        """By base and leaf: what joins them."""
        return {(self.base, leaf): link for leaf, link in self.leaves.items()}


class WitnessSettings(Settings):
    """A third space that embeds the overlapping modality and one of the memories, and so can tell what fits what."""

    space: str
    modality: Modality = Field(description="Modality of the memory that it also embeds.")


class GraphLink(LinkSettings):
    """One link of a graph; the two spaces are those that `memories` names."""

    witness: WitnessSettings | None = Field(None, description="A third space that helps to decide which samples match.")


class Graph(Settings):
    """Any number of spaces, and the links between them."""

    links: Annotated[Mapping[str, GraphLink], Field(min_length=1)] = Field(description="By a name of your choice.")

    @property
    def joined(self) -> Mapping[tuple[str, str], LinkSettings]:
        """By pair of spaces: what joins them."""
        return {(first, second): link for link in self.links.values() for first, second in [tuple(link.memories)]}

    def called(self, spaces: tuple[str, str]) -> str:
        """Name of the link between `spaces`."""
        return next(name for name, link in self.links.items() if tuple(link.memories) == spaces)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        pairs = [frozenset(link.memories) for link in self.links.values()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("each link has the memories of two spaces")
        if len(set(pairs)) < len(pairs):
            raise ValueError("two links join the same spaces")
        reached, left = set(pairs[0]), pairs[1:]
        while touching := [pair for pair in left if pair & reached]:
            reached, left = reached.union(*touching), [pair for pair in left if pair not in touching]
        if left:
            raise ValueError(f"no link connects {', '.join(sorted(reached))} to {', '.join(sorted(left[0]))}")
        return self


Share = Annotated[float, Field(gt=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=1)]


class KeepSettings(Settings):
    """Frozen spaces kept as blocks beside the connected one, in one vector."""

    weight: Share | dict[str, Share] = Field(
        0.9,
        description="Share of the frozen cosine in a score within a space, for all spaces or by space. Rankings across spaces do not "
        "depend on it.",
    )
    standardise: bool = Field(
        False,
        description="Weigh each space by the spread of its own cosines, measured on the connection's data, so that one weight means the "
        "same in all of them.",
    )

    @model_validator(mode="after")
    def _one_weight_is_standardised(self) -> Self:
        if self.standardise and isinstance(self.weight, dict):
            raise ValueError("`standardise` needs one weight, not weights by space")
        return self


class Connection(Settings):
    """Spaces, what joins them, and how. Every connection has the four keys without a default: dvc.yaml names them, and
    DVC refuses a key that is not there.
    """

    method: str
    join: TwoSpaces | BaseAndLeaves | Graph
    retrieve: SearchSettings
    train: Settings
    keep: KeepSettings | None = Field(
        None, description="Keep the frozen spaces as blocks. Needs no new pairs and no training."
    )

    @model_validator(mode="after")
    def _weights_are_those_of_its_blocks(self) -> Self:
        if self.keep and isinstance(self.keep.weight, dict):
            base = getattr(self.join, "base", "")
            blocks = list(dict.fromkeys(space for pair in self.join.joined for space in pair if space != base))
            if set(self.keep.weight) != set(blocks):
                raise ValueError(
                    f"keep.weight gives {', '.join(self.keep.weight)}, but blocks are of {', '.join(blocks)}"
                )
        return self

    @property
    def record(self) -> Method:
        """What is known of its method."""
        return method_called(self.method)

    @property
    def is_reference(self) -> bool:
        """Whether it is a bound or a control: there to compare others with, and not to be used."""
        return self.record.is_bound or self.retrieve.control != "none"

    def links(self, name: str) -> tuple[Link, ...]:
        """The links of the connection, which is called `name`."""
        base = getattr(self.join, "base", "")
        return tuple(
            Link(
                connection=name,
                name=self.join.called(spaces) if isinstance(self.join, Graph) else name_of(spaces, base),
                spaces=spaces,
                base=base,
                overlap=settings.overlap or "",
                queries=settings.queries,
                memories={
                    space: Memory(modality=memory.modality, corpora=memory.corpora)
                    for space, memory in settings.memories.items()
                },
                keep=Keep(**self.keep.model_dump()) if self.keep else Keep(),
                combine=getattr(self, "combine", {}),
                sets=getattr(self.retrieve_of(spaces), "sets", self.record.sets),
                witness=_witness(settings),
                part=isinstance(self.join, Graph),
            )
            for spaces, settings in self.join.joined.items()
        )

    def retrieve_of(self, spaces: tuple[str, str]) -> SearchSettings:
        """How the pairs of one link are made: the connection's settings with what the leaf changes."""
        return self.retrieve.changed_by(getattr(self.join.joined[spaces], "retrieve", None))

    def train_of(self, spaces: tuple[str, str]) -> Settings:
        """How one link is trained: the connection's settings with what the leaf changes."""
        return self.train.changed_by(getattr(self.join.joined[spaces], "train", None))


def _witness(settings: LinkSettings) -> Witness | None:
    said = settings.witness if isinstance(settings, GraphLink) else None
    return Witness(space=said.space, modality=said.modality) if said else None


def _connection_of(method: Method) -> type[Connection]:
    """What a connection by `method` may say."""
    retrieve = implementation(method.retrieve_settings, "pipeline.retrieve")
    train = implementation(method.train_settings, "pipeline.train")
    name = method.name.title()
    fields: dict[str, Any] = {
        "method": (Literal[method.name], Field(description=method.summary)),
        "join": (Graph if method.joint else _leaves_of(name, retrieve, train) if method.keeps_base else TwoSpaces, ...),
        "retrieve": (retrieve, ...),
        "train": (train, ...),
    }
    if method.combines:
        said = (
            "By modality: how much the leaves count where the base embeds it, too. Needs no new pairs and no training."
        )
        fields["combine"] = (dict[Modality, Factor], Field({}, description=said))
    made: type[Connection] = create_model(f"{name}Connection", __base__=Connection, __doc__=method.summary, **fields)
    return made


def _leaves_of(name: str, retrieve: type[Settings], train: type[Settings]) -> type[BaseAndLeaves]:
    """A base and leaves, each of which may be made and trained in its own way."""
    changes: dict[str, Any] = {
        "retrieve": (retrieve | None, Field(None, description="Settings that override the connection's `retrieve`.")),
        "train": (train | None, Field(None, description="Settings that override the connection's `train`.")),
    }
    leaf: Any = create_model(
        f"{name}Leaf", __base__=LinkSettings, __doc__="A space that is projected into the base.", **changes
    )
    leaves: Any = Annotated[Mapping[str, leaf], Field(min_length=1)]
    said = Field(description="By space: how it joins the base.")
    made: type[BaseAndLeaves] = create_model(
        f"{name}BaseAndLeaves", __base__=BaseAndLeaves, __doc__=BaseAndLeaves.__doc__, leaves=(leaves, said)
    )
    return made


if TYPE_CHECKING:
    AnyConnection = Connection
else:
    AnyConnection = Annotated[
        Union[tuple(_connection_of(method) for method in methods().values())],  # noqa: UP007 (made of a list)
        Field(discriminator="method"),
    ]
