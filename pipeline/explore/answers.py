"""What is asked over HTTP and what is answered: the schema of the JSON API."""

from typing import Annotated, Any

from pydantic import Field, create_model

from pipeline.settings import Settings

LARGEST_TEXT = 65_536  # characters, as many as a shard takes bytes
MOST_RESULTS = 100

Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,199}$")]
Modality = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,30}$")]


class Item(Settings):
    """An item of a corpus."""

    corpus: Name
    shard: str = Field(pattern="^[a-z]?[0-9]{1,12}[.]tar$")
    key: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,200}$")]
    modality: Modality


class Query(Settings):
    """What is looked for: one of the three."""

    text: str = Field("", max_length=LARGEST_TEXT)
    upload: str = Field("", pattern="^([0-9a-f]{64})?$", description="What /api/upload answered.")
    item: Item | None = Field(None, description="More like this one.")


class Search(Query):
    """Find items, by one connection or by several side by side."""

    connections: tuple[Name, ...] = Field(min_length=1, max_length=4)
    into: Modality = Field("image", description="What to look for.")
    corpora: tuple[Name, ...] = Field((), description="Empty for all.")
    count: int = Field(12, ge=1, le=MOST_RESULTS)


class Partners(Query):
    """Ask what pseudo-pairs of a query would be made of."""

    connection: Name
    count: int = Field(6, ge=1, le=MOST_RESULTS)


class Scored(Item):
    """An item with its cosine, or its share of a pseudo-pair."""

    score: float
    caption: str


class Found(Settings):
    """What one connection found."""

    connection: str
    through: str = Field(description="The frozen space that embedded the query.")
    milliseconds: float
    results: tuple[Scored, ...]


class Results(Settings):
    """Answer to `Search`."""

    modality: str = Field(description="Of the query.")
    found: tuple[Found, ...]


class Memory(Settings):
    """What one memory gives to the partner of a query: weights of a softmax over all of it."""

    link: str
    space: str
    temperature: float
    results: tuple[Scored, ...]


class PartnersOf(Settings):
    """Answer to `Partners`."""

    memories: tuple[Memory, ...]
    note: str = ""


class Uploaded(Settings):
    """Answer to an upload; it is kept in memory only, the last few."""

    upload: str
    modality: str
    name: str


class Place(Settings):
    """An item on the map: two coordinates, and what it is."""

    x: float
    y: float
    item: Item


class Map(Settings):
    """Two principal components of a sample of everything, each modality centred."""

    connection: str
    explained: float = Field(description="Share of the variance that the two have.")
    places: tuple[Place, ...]


class ConnectionFacts(Settings):
    """What can be asked of a connection."""

    name: str
    label: str = Field(description="Its method.")
    queries: tuple[str, ...] = Field(description="Modalities that it embeds.")
    corpora: dict[str, tuple[str, ...]] = Field(description="By modality: what can be searched.")
    dimension: int


class Facts(Settings):
    """What there is."""

    title: str
    connections: tuple[ConnectionFacts, ...]
    endings: dict[str, tuple[str, ...]] = Field(description="By modality: endings of files that may be uploaded.")
    largest: dict[str, int] = Field(description="By modality: bytes of an upload.")


class Refused(Settings):
    """Every error: what is wrong, and what to do."""

    error: str
    hint: str = ""


def schema() -> dict[str, Any]:
    """JSON schema of every request and answer."""
    kinds = (Search, Results, Partners, PartnersOf, Uploaded, Map, Facts, Refused)
    fields: Any = {kind.__name__: (kind, ...) for kind in kinds}
    made: type = create_model("Api", __doc__="Requests and answers of `mcr serve`.", **fields)
    return made.model_json_schema()
