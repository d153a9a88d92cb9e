"""What was connected and with what, in plain words built from the facts."""

from collections.abc import Mapping

from pipeline.report.findings import unpaired
from pipeline.report.inputs import ConnectionFiles, Inputs
from pipeline.report.table import METHODS, Table

PLURALS = {"text": "captions", "image": "pictures", "audio": "sounds", "point": "point clouds"}


def story(inputs: Inputs, tables: list[Table]) -> list[str]:
    """Sentences of the opening paragraph; only what the files say."""
    main = inputs.main
    if main is None:
        return ["No connection has been trained yet."]
    said = [_joined(main), *(_data(files) for files in (main.leaves.values() or [main]))]
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
    if main.leaves:
        return _extended(main, method)
    bridge = f" over the modality that both embed: {overlap}" if overlap else ""
    return f"{method} joined the frozen spaces {' and '.join(spaces)}{bridge}."


def _extended(main: ConnectionFiles, method: str) -> str:
    base = str((main.config or {}).get("base") or "its base")
    said = {name: f"{name} ({', '.join(space.get('modalities', ()))})" for name, space in main.spaces.items()}
    leaves = [f"{said.get(leaf, leaf)} over {files.fingerprint.get('overlap')}" for leaf, files in main.leaves.items()]
    stays = f"into {said.get(base, base)}, which stays exactly as it is"
    return f"{method} projected the frozen spaces {' and '.join(leaves)} {stays}; no leaf knows of another."


def _centred(main: ConnectionFiles, memories: Mapping[str, object]) -> str:
    """What is said of a leaf of Ex-MCR, whose pairs start from several modalities."""
    leaf = main.name.rpartition("/")[2]
    base = next((space for space in memories if space != leaf), "")
    kinds = {"overlap": main.fingerprint.get("overlap"), "leaf": memories.get(leaf), "base": memories.get(base)}
    parts = [
        f"{manifest.rows:,} from {PLURALS.get(str(kinds.get(centre)), centre)}"
        for centre, manifest in main.pairs.items()
    ]
    return f"For {leaf} it made {main.rows:,} pseudo-pairs from unpaired data: {', '.join(parts)}."


def _data(main: ConnectionFiles) -> str:
    memories = main.fingerprint.get("memories")
    if not main.pairs or not isinstance(memories, dict):
        return ""
    if main.method == "exmcr":
        return _centred(main, memories)
    overlap = PLURALS.get(str(main.fingerprint.get("overlap")), "queries")
    parts = []
    for space, modality in memories.items():
        kind = modality.get("modality") if isinstance(modality, dict) else modality
        parts.append(f"{PLURALS.get(str(kind), str(kind))} (by {space})")
    if main.method in ("coupling", "excoupling"):
        text = f"Unpaired {' and '.join(parts)} were made partners of each other: real samples, drawn by how alike"
        return f"{text} they look through unpaired {overlap}, {main.rows:,} rows in all."
    return (
        f"It used {main.rows:,} unpaired {overlap}, each turned into a pseudo-pair by looking it up among"
        f" unpaired {' and unpaired '.join(parts)}."
    )
