"""What a prepared set adds to params.yaml: its corpora, and the tasks that it serves."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.prepare.prepared import SEPARATOR, Prepared


def entries(name: str, prepared: Prepared, tasks: Sequence[str], source: Path, raw: Path) -> dict[str, Any]:
    """The sections `corpora` and `evaluate` of the set `name`; the methods to measure are left to the user.

    Args:
        name: Of the set.
        prepared: Its content.
        tasks: What it is for.
        source: Folder of its publishers' files.
        raw: Folder of its manifests.
    """
    # From the manifest, so that the project can be moved together with its data.
    files = Path(os.path.relpath(source.resolve(), raw.resolve())).as_posix()
    corpora: dict[str, Any] = {
        f"{name}-{modality}": {"modalities": [modality], "source": f"{raw.as_posix()}/{modality}.jsonl", "files": files}
        for modality in prepared.files
    }
    for modality in prepared.converted:
        corpora[f"{name}-{modality}"] = {"modalities": [modality], "source": f"{raw.as_posix()}/{modality}"}
    if prepared.captions:
        corpora[f"{name}-text"] = {"modalities": ["text"], "source": f"{raw.as_posix()}/captions.jsonl"}
    if prepared.classes:
        corpora[f"{name}-prompts"] = {"modalities": ["text"], "source": f"{raw.as_posix()}/prompts.jsonl"}
    held = [*prepared.modalities, *(["text"] if prepared.captions else [])]
    found: dict[str, Any] = {}
    for kind in tasks:
        label = f"{name}-{kind}" if len(tasks) > 1 else name
        if kind != "retrieval":
            found[label] = _task(name, kind, prepared)
        elif len(held) == 2:
            found[label] = _retrieval(name, held[0], held[1])
        else:
            found |= {f"{label}-{a}-{b}": _retrieval(name, a, b) for a, b in combinations(held, 2)}
    return {"corpora": corpora, "evaluate": {"tasks": found}}


def _retrieval(name: str, first: str, second: str) -> dict[str, Any]:
    """Retrieval between two modalities of the set; a text belongs to the item that its key begins with."""
    task = {"task": "retrieval", "corpus": f"{name}-{first}", "corpora": {second: f"{name}-{second}"}}
    task |= {"modalities": [first, second], "repeated": "keep"}  # the published protocols count copies
    return task | ({"item_separator": SEPARATOR} if second == "text" else {})


def _task(name: str, kind: str, prepared: Prepared) -> dict[str, Any]:
    labels = {"table": f"{name}.parquet"}
    if kind in ("classification", "tagging"):
        modality = prepared.modalities[0]
        task = {"task": kind, "corpus": f"{name}-{modality}", "modality": modality, "labels": labels}
        return task | {"prompts": f"{name}-prompts"}
    task = {"task": kind, "corpus": f"{name}-audio", "crops": f"{name}-crops", "proposals": f"{name}-crops.parquet"}
    task |= {"regions": f"{name}-regions.parquet"}
    # Where some pictures do not show what sounds, the papers' tables hold what SLAVC's program computes.
    hidden = any(box is None for _, _, box in prepared.regions)
    return {**task, "agreement": prepared.agreement, **({"protocol": "slavc"} if hidden else {})}
