"""What a prepared set adds to params.yaml: its corpora, and the tasks that it serves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.prepare.prepared import SEPARATOR, Prepared


def entries(name: str, prepared: Prepared, tasks: Sequence[str], raw: Path) -> dict[str, Any]:
    """The sections `corpora` and `evaluate` of the set `name`; the methods to measure are left to the user.

    Args:
        name: Of the set.
        prepared: Its content.
        tasks: What it is for.
        raw: Folder of its manifests.
    """
    corpora: dict[str, Any] = {
        f"{name}-{modality}": {"modalities": [modality], "source": f"{raw.as_posix()}/{modality}.jsonl"}
        for modality in prepared.files
    }
    for modality in prepared.converted:
        corpora[f"{name}-{modality}"] = {"modalities": [modality], "source": f"{raw.as_posix()}/{modality}"}
    if prepared.captions:
        corpora[f"{name}-text"] = {"modalities": ["text"], "source": f"{raw.as_posix()}/captions.jsonl"}
    if prepared.classes:
        corpora[f"{name}-prompts"] = {"modalities": ["text"], "source": f"{raw.as_posix()}/prompts.jsonl"}
    found = {f"{name}-{kind}" if len(tasks) > 1 else name: _task(name, kind, prepared) for kind in tasks}
    return {"corpora": corpora, "evaluate": {"tasks": found}}


def _task(name: str, kind: str, prepared: Prepared) -> dict[str, Any]:
    labels = {"table": f"{name}.parquet"}
    if kind in ("classification", "tagging"):
        modality = prepared.modalities[0]
        task = {"task": kind, "corpus": f"{name}-{modality}", "modality": modality, "labels": labels}
        return task | {"prompts": f"{name}-prompts"}
    if kind == "localisation":
        task = {"task": kind, "corpus": f"{name}-audio", "crops": f"{name}-crops", "proposals": f"{name}-crops.parquet"}
        task |= {"regions": f"{name}-regions.parquet", "agreement": prepared.agreement}
        hidden = any(box is None for _, _, box in prepared.regions)
        return task | ({"protocol": "slavc"} if hidden else {})
    first = prepared.modalities[0]
    second = "text" if prepared.captions else prepared.modalities[1]
    task = {"task": "retrieval", "corpus": f"{name}-{first}", "corpora": {second: f"{name}-{second}"}}
    task |= {"modalities": [first, second]}
    return task | ({"item_separator": SEPARATOR} if prepared.captions else {})
