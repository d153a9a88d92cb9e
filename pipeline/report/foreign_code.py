"""Code of somebody else that results were made with: what it is, and of which version."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.report.inputs import Inputs


@dataclass(frozen=True, order=True)
class ForeignCode:
    """A plug-in as the results remember it.

    Attributes:
        kind: ``source kind``, ``encoder`` or ``method``.
        name: As the parameters name it.
        package: Where it is from: a package, or the project's folder ``plugins/``.
        version: Of the package; empty for the folder.
        source: Hash of its source.
    """

    kind: str
    name: str
    package: str
    version: str
    source: str


def foreign_code(inputs: Inputs) -> list[ForeignCode]:
    """Every plug-in that shards, embeddings or connections were made with, once."""
    return sorted(set(_all(inputs)))


def _all(inputs: Inputs) -> Iterator[ForeignCode]:
    for _, manifest in inputs.folders("shards"):
        yield from _said("source kind", manifest.fingerprint.get("kind"), manifest.fingerprint)
    for _, manifest in inputs.folders("embeddings"):
        spec, encoder = manifest.fingerprint.get("spec"), manifest.fingerprint.get("encoder")
        if isinstance(spec, Mapping) and isinstance(encoder, Mapping):
            yield from _said("encoder", spec.get("encoder"), encoder)
    for files in inputs.connections.values():
        for made in (files.config or {}, *(part.fingerprint for part in files.parts)):
            yield from _said("method", files.method, made)


def _said(kind: str, name: object, made: Mapping[str, object]) -> Iterator[ForeignCode]:
    plugin = made.get("plugin")
    if isinstance(plugin, Mapping) and plugin:
        yield ForeignCode(kind, str(name), *(str(plugin.get(part, "")) for part in ("package", "version", "source")))
