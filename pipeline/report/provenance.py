"""Where every sample went, and what every number was made from."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.hashing import sha256_json
from pipeline.report.connection_files import ConnectionFiles, LinkFiles, Record
from pipeline.report.inputs import Inputs
from pipeline.store import Manifest

# What the rows of the pairs are, by `Method.pairs`.
COUNTED = {
    "averaged": "pseudo-pairs",
    "drawn": "samples and queries",
    "true": "true pairs",
    "texts": "queries",
    "none": "queries",
}


@dataclass(frozen=True)
class Account:
    """Samples of one stage instance: in = out + rejected.

    Attributes:
        expected: What the stage before handed over; None when that is not known.
        not_read: What of it is of other modalities, or of other formats.
    """

    stage: str
    name: str
    samples_in: int
    out: int
    rejected: int
    reasons: str
    complete: bool
    expected: int | None = None
    not_read: int = 0

    @property
    def closes(self) -> bool:
        """Whether nothing is lost: inside the stage, and since the stage before."""
        inside = self.samples_in == self.out + self.rejected and self.complete
        return inside and self.expected in (None, self.samples_in + self.not_read)


def accounts(inputs: Inputs) -> list[Account]:
    """One account per corpus, embedding store and connection."""
    shards = dict(inputs.folders("shards"))
    found = [_account("shard", name, manifest) for name, manifest in shards.items()]
    for name, manifest in inputs.folders("embeddings"):
        corpus = shards.get(name.split("/")[1]) if name.count("/") == 2 else None
        found.append(_account("encode", name, manifest, corpus.rows if corpus else None))
    for files in inputs.connections.values():
        for part in files.parts:
            for name, manifest in part.pairs.items():
                found.append(_account("retrieve", f"{part.link.place}/{name}", manifest))
    return found


def _account(stage: str, name: str, manifest: Manifest, expected: int | None = None) -> Account:
    reasons = Counter(failure.message for part in manifest.parts for failure in part.rejected)
    frequent = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    said = "; ".join(f"{count} x {message}" for message, count in frequent)
    if transparent := sum(part.transparent for part in manifest.parts):
        said = "; ".join(filter(None, [said, f"{transparent:,} pictures have transparency"]))
    samples_in = sum(part.samples_in for part in manifest.parts)
    return Account(
        stage,
        name,
        samples_in,
        manifest.rows,
        manifest.rejected,
        said,
        manifest.complete,
        expected,
        sum(manifest.not_read.values()),
    )


@dataclass(frozen=True)
class SpaceFacts:
    """A frozen space as the fingerprint names it."""

    name: str
    encoder: str
    model: str
    checkpoint: str
    sha256: str
    precision: str
    dimension: str
    modalities: str


def space_facts(inputs: Inputs) -> list[SpaceFacts]:
    """Every space that a connection uses, once."""
    spaces: dict[str, Record] = {}
    for files in inputs.connections.values():
        for name, space in files.spaces.items():
            spaces.setdefault(name, space)
    return [_facts(name, space) for name, space in spaces.items()]


def _facts(name: str, space: Record) -> SpaceFacts:
    inner = space.get("fingerprint")
    space = {**inner, **space} if isinstance(inner, dict) else space
    spec = space.get("spec") or {}
    said = {field: str(spec.get(field) or "") for field in ("encoder", "model", "checkpoint", "sha256", "precision")}
    return SpaceFacts(
        name=name, dimension=str(space.get("dimension", "")), modalities=", ".join(space.get("modalities", ())), **said
    )


@dataclass(frozen=True)
class LinkFacts:
    """What a link was trained with, as pairs of name and value, and all of it as JSON."""

    connection: str
    name: str
    method: str
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    everything: str


def link_facts(files: ConnectionFiles, part: LinkFiles) -> LinkFacts:
    """Facts of one link of a connection; what is not known is left out."""
    config, pairs, trained = files.config or {}, part.fingerprint, files.trained(part.link)
    retrieve, train = pairs.get("settings") or {}, trained.get("train") or {}
    facts = {
        "base, which stays as it is": part.link.base if config or pairs else None,
        "overlapping modality": part.link.overlap if config or pairs else None,
        COUNTED.get(files.pairs_are, "pairs"): part.rows,
        "weight of the frozen spaces beside it": str(part.link.keep) if part.link.keep else None,
        "witness": part.link.witness.space if part.link.witness else None,
        "negative control": files.control if files.control != "none" else None,
        "seed": config.get("seed", pairs.get("seed")),
        "threads": config.get("threads"),
        "hash of the pairs": trained.get("pairs"),
        "hash of the retrieve settings": sha256_json(retrieve) if retrieve else None,
        "hash of the train settings": sha256_json(train) if train else None,
    }
    settings = {f"retrieve.{name}": value for name, value in flatten(retrieve).items()}
    settings |= {f"train.{name}": value for name, value in flatten(train).items()}
    everything = json.dumps({"pairs": pairs, "model": config}, indent=1, sort_keys=True)
    known = {name: str(value) for name, value in facts.items() if value not in (None, "")}
    return LinkFacts(files.name, part.label, files.method, known, settings, everything)


def store_fingerprints(inputs: Inputs) -> str:
    """Fingerprints of all embedding stores as JSON; empty when there are none."""
    found = {name: manifest.fingerprint for name, manifest in inputs.folders("embeddings")}
    return json.dumps(found, indent=1, sort_keys=True) if found else ""


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return found
