"""Whether embedding stores are what their place says, and whether what is joined was made by one and the same space."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.store.differences import differences
from pipeline.store.integrity.preparation import CORPUS_OPTIONS, comparable
from pipeline.store.reader import Store, read_stores

# What an encoder says of itself that holds for all of its modalities; preprocessing and packages are of one modality.
IDENTITY = ("family", "code_version", "sha256", "precision")
# Of one modality, or of no consequence beyond rounding.
_NOT_OF_THE_SPACE = ("modality", "encoder", "encoders", "batch_size", CORPUS_OPTIONS)
_AGAIN = "Run `dvc repro`, which encodes what is stale again, so that all of it comes from one checkpoint."


def open_placed(folder: Path) -> Store:
    """Open the store in ``<embeddings>/<space>/<corpus>/<modality>`` and see that it is about these three.

    Raises:
        UserError: It is missing or unfinished, or it is that of another space, corpus or modality.
    """
    store = Store.open(folder)
    space, corpus, modality = folder.absolute().parts[-3:]
    fingerprint = store.manifest.fingerprint
    said = {"space": fingerprint.get("space"), "corpus": store.manifest.corpus, "modality": fingerprint.get("modality")}
    for field, place in {"space": space, "corpus": corpus, "modality": modality}.items():
        if said[field] and said[field] != place:
            raise UserError(
                f"{folder} holds embeddings of the {field} {said[field]!r}, not {place!r}.",
                "Something was copied or moved there: remove the folder and run `dvc repro`.",
            )
    return store


def read_placed(folders: Sequence[Path]) -> tuple[list[str], Any]:
    """Keys and embeddings [N, D] float32 of stores of one space and modality, each in its place; see `read_embeddings`.

    Raises:
        UserError: A store is not what its place says, or they were made by different spaces, or share a key.
        CorruptError: A part is damaged, or holds a row that is not a unit vector.
    """
    return read_stores([open_placed(folder) for folder in folders])


def space_of(name: str, stores: Sequence[Store]) -> dict[str, Any]:
    """What `stores` say about the space that made all of them; ``encoders`` has what they say of each modality.

    Raises:
        UserError: They were made by different checkpoints, preprocessing or code.
    """
    records = [_record(store) for store in stores]
    for (first, ours), (second, theirs) in combinations(zip(stores, records, strict=True), 2):
        if reasons := space_differences(ours, theirs):
            raise UserError(
                f"{first.folder} and {second.folder} were not made by the same space {name!r}: {'; '.join(reasons)}.",
                _AGAIN,
            )
    encoders = {modality: encoder for record in records for modality, encoder in record.pop("encoders").items()}
    options = {modality: said for record in records for modality, said in record.pop(CORPUS_OPTIONS, {}).items()}
    found = {**records[0], "encoders": dict(sorted(encoders.items()))} if any(encoders.values()) else records[0]
    return {**found, CORPUS_OPTIONS: dict(sorted(options.items()))} if any(options.values()) else found


def check_made_by(store: Store, record: Mapping[str, Any], whose: str, file: Path) -> None:
    """See that `store` was made by the space that `record` describes, see `space_of`.

    Args:
        store: Embeddings.
        record: The space of whatever is used on them.
        whose: What the record is about, for the message.
        file: Where it is written.

    Raises:
        UserError: It was not; the fields that differ are named.
    """
    if reasons := space_differences(record, _record(store)):
        raise UserError(
            f"{store.folder} was not encoded by the space that {whose} was trained on ({file}): {'; '.join(reasons)}.",
            _AGAIN,
        )


def space_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The differing fields of two records of a space in words, such as ``encoder of text.sha256: 63a1.. -> 9f02..``.

    What one record does not say, as those of earlier versions do not, cannot differ.
    """
    ours, theirs = (
        {field: value for field, value in record.items() if field not in _NOT_OF_THE_SPACE}
        for record in (first, second)
    )
    shared = ours.keys() & theirs.keys()
    reasons = differences({field: ours[field] for field in shared}, {field: theirs[field] for field in shared})
    for modality, encoder in (first.get("encoders") or {}).items():
        for other, another in (second.get("encoders") or {}).items():
            if modality == other:
                known = comparable(_of_modality(first, modality), _of_modality(second, modality))
                before, after = (each["encoder"] for each in known)
                reasons += differences(before, after, f"encoder of {modality}.")
            else:
                said = [field for field in IDENTITY if field in encoder and field in another]
                before, after = ({field: each[field] for field in said} for each in (encoder, another))
                reasons += differences(before, after, f"encoder of {modality} and {other}.")
    return list(dict.fromkeys(reasons))


def _of_modality(record: Mapping[str, Any], modality: str) -> dict[str, Any]:
    options = (record.get(CORPUS_OPTIONS) or {}).get(modality)
    return {"encoder": record["encoders"][modality], **({CORPUS_OPTIONS: options} if options else {})}


def _record(store: Store) -> dict[str, Any]:
    fingerprint = store.manifest.fingerprint
    encoder, modality = fingerprint.get("encoder"), fingerprint.get("modality")
    known = {modality: encoder} if isinstance(encoder, Mapping) and isinstance(modality, str) else {}
    return {
        **{field: value for field, value in fingerprint.items() if field not in ("modality", "encoder")},
        "encoders": known,
        # Of each modality: that of another corpus of the space may be prepared otherwise.
        **({CORPUS_OPTIONS: {modality: fingerprint[CORPUS_OPTIONS]}} if fingerprint.get(CORPUS_OPTIONS) else {}),
    }
