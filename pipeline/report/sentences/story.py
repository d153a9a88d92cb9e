"""What was connected and with what, in plain words built from the facts."""

from dataclasses import dataclass

from pipeline.report.connection_files import ConnectionFiles, LinkFiles
from pipeline.report.inputs import Inputs
from pipeline.report.sentences.findings import unpaired
from pipeline.report.table import Table

PLURALS = {"text": "captions", "image": "pictures", "audio": "sounds", "point": "point clouds"}


@dataclass(frozen=True)
class PairWords:
    """What the page says about the pairs that it shows.

    Attributes:
        title: Above them.
        text: What is seen.
        share: What the percentage of a neighbour is.
    """

    title: str
    text: str
    share: str


# By `Method.pairs`; true pairs have no neighbours to show.
PAIRS = {
    "averaged": PairWords(
        "What a pseudo-pair is made of",
        "Each query is looked up in every memory; the neighbours' embeddings are averaged with the weights shown. Only the"
        " nearest are shown here.",
        "weight",
    ),
    "drawn": PairWords(
        "Which samples became partners",
        "Each query is a real sample, and so is each of its partners: they are drawn with the probabilities shown, and"
        " nothing is averaged. Only the likeliest are shown here.",
        "probability",
    ),
}


def story(inputs: Inputs, tables: list[Table]) -> list[str]:
    """Sentences of the opening paragraph; only what the files say."""
    main = inputs.main
    if main is None:
        if any(files.config for files in inputs.connections.values()):
            return ["Only bounds and negative controls have been trained: no connection from unpaired data."]
        return ["No connection has been trained yet."]
    said = [_joined(main), *(_data(main, part) for part in main.parts)]
    sides = next((table.sides for table in tables if table.sides), None)
    if sides and unpaired(main, sides):
        first, second = sides
        said.append(f"Not one {first}-{second} pair was used: no space here embeds both; the method guesses the pairs.")
    sizes = next((f"{table.queries} samples of {table.dataset}" for table in tables if table.queries), None)
    if sizes:
        said.append(f"It is measured on {sizes}; true pairs are known there and used for measuring only.")
    return [sentence for sentence in said if sentence]


def _joined(main: ConnectionFiles) -> str:
    said = {name: f"{name} ({', '.join(space.get('modalities', ()))})" for name, space in main.spaces.items()}
    method = main.record.label if main.record else main.method or "an unknown method"
    if not said:
        return f"The connection {main.name} was made by {method}."
    if main.base:
        leaves = [f"{said.get(link.name, link.name)} over {link.overlap}" for link in main.links]
        stays = f"into {said.get(main.base, main.base)}, which stays exactly as it is"
        return f"{method} projected the frozen spaces {' and '.join(leaves)} {stays}; no leaf knows of another."
    overlap = main.links[0].overlap
    bridge = f" over the modality that both embed: {overlap}" if overlap else ""
    return f"{method} joined the frozen spaces {' and '.join(said.values())}{bridge}."


def _data(main: ConnectionFiles, part: LinkFiles) -> str:
    """What one link was made from."""
    if not part.pairs:
        return ""
    link = part.link
    overlap = PLURALS.get(link.overlap, "queries")
    memories = {space: PLURALS.get(memory.modality, memory.modality) for space, memory in link.memories.items()}
    named = [f"{memories[space]} (by {space})" for space in link.spaces]
    if main.pairs_are == "drawn":
        text = f"Unpaired {' and '.join(named)} were made partners of each other: real samples, drawn by how alike"
        if hop := link.overlapping_memory:
            [both] = [space for space in link.spaces if space != hop]
            return f"{text} they are to {both}, which embeds both of them, {part.rows:,} rows in all."
        return f"{text} they look through unpaired {overlap}, {part.rows:,} rows in all."
    if main.pairs_are == "texts":
        read = next(iter(part.pairs.values()))
        return f"It learned from {read.rows:,} unpaired {overlap}, as both spaces embed them, and from no other sample: of those only means are used."
    if main.pairs_are == "none":
        kept = next(iter(part.pairs.values()))
        return f"It keeps {kept.rows:,} unpaired {overlap}, as both spaces embed them; no partner is made and nothing is trained."
    if main.pairs_are != "averaged":
        return f"It was trained on {part.rows:,} pairs of {' and '.join(named)}."
    if not link.base:
        return (
            f"It used {part.rows:,} unpaired {overlap}, each turned into a pseudo-pair by looking it up among"
            f" unpaired {' and unpaired '.join(named)}."
        )
    starts = {"overlap": overlap, "leaf": memories[link.name], "base": memories[link.base]}
    counts = [f"{manifest.rows:,} from {starts.get(name, name)}" for name, manifest in part.pairs.items()]
    return f"For {link.name} it made {part.rows:,} pseudo-pairs from unpaired data: {', '.join(counts)}."
