"""What was connected and with what, in plain words built from the facts."""

from pipeline.report.findings import unpaired
from pipeline.report.inputs import ConnectionFiles, Inputs
from pipeline.report.table import METHODS, Table

PLURALS = {"text": "captions", "image": "pictures", "audio": "sounds", "point": "point clouds"}


def story(inputs: Inputs, tables: list[Table]) -> list[str]:
    """Sentences of the opening paragraph; only what the files say."""
    main = inputs.main
    if main is None:
        return ["No connection has been trained yet."]
    said = [_joined(main), _data(main)]
    sides = next((table.sides for table in tables if table.sides), None)
    if sides and unpaired(main, sides):
        first, second = sides
        said.append(f"Not one {first}-{second} pair was used: no space here embeds both; the method guesses the pairs.")
    sizes = next((f"{table.queries} samples of {table.dataset}" for table in tables if table.queries), None)
    if sizes:
        said.append(f"It is measured on {sizes}; true pairs are known there and used for measuring only.")
    return [sentence for sentence in said if sentence]


def _joined(main: ConnectionFiles) -> str:
    spaces = [f"{name} ({', '.join(space.get('modalities', ()))})" for name, space in main.spaces.items()]
    overlap = (main.config or {}).get("overlap") or main.fingerprint.get("overlap")
    method = METHODS.get(main.method, (main.method or "an unknown method", ""))[0]
    if not spaces:
        return f"The connection {main.name} was made by {method}."
    bridge = f" over the modality that both embed: {overlap}" if overlap else ""
    return f"{method} joined the frozen spaces {' and '.join(spaces)}{bridge}."


def _data(main: ConnectionFiles) -> str:
    memories = main.fingerprint.get("memories")
    if not main.pairs or not isinstance(memories, dict):
        return ""
    overlap = PLURALS.get(str(main.fingerprint.get("overlap")), "queries")
    parts = []
    for space, modality in memories.items():
        kind = modality.get("modality") if isinstance(modality, dict) else modality
        parts.append(f"{PLURALS.get(str(kind), str(kind))} (by {space})")
    return (
        f"It used {main.pairs.rows:,} unpaired {overlap}, each turned into a pseudo-pair by looking it up among"
        f" unpaired {' and unpaired '.join(parts)}."
    )
