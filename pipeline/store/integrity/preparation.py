"""Two stores of one space whose files were prepared in two ways, because their corpora say so."""

from collections.abc import Mapping
from typing import Any

# What a fingerprint says of the options that the corpus has in place of the space's; nothing where it has none.
CORPUS_OPTIONS = "corpus_options"
PREPROCESSING = "preprocessing"

Fingerprint = Mapping[str, Any]


def comparable(ours: Fingerprint, theirs: Fingerprint) -> tuple[Fingerprint, Fingerprint]:
    """Two fingerprints of one modality without what may differ between two corpora of one space.

    That is nothing unless one of the corpora has options of its own. Those are options that prepare files and leave the
    model alone (`pipeline.spaces.prepared_for`), so that embeddings made with and without them can be compared.
    """
    options = (ours.get(CORPUS_OPTIONS, {}), theirs.get(CORPUS_OPTIONS, {}))
    if options[0] == options[1]:
        return ours, theirs
    left_out = {PREPROCESSING, *options[0], *options[1]}
    return _without(ours, left_out), _without(theirs, left_out)


def _without(fingerprint: Fingerprint, left_out: set[str]) -> Fingerprint:
    found = {field: value for field, value in fingerprint.items() if field != CORPUS_OPTIONS}
    encoder = found.get("encoder")
    if isinstance(encoder, Mapping):
        found["encoder"] = {field: value for field, value in encoder.items() if field not in left_out}
    return found
