"""Ex-MCR through the commands, from embedding stores to metrics and report: which sets there are decides what is made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from pipeline.connect import ConnectedSpace, connected_space
from pipeline.store import EMBEDDING_COLUMN, EMBEDDINGS, PartFolder, Rows, read_embeddings, write_rows
from stages.cli import app
from tests.params.test_exmcr import UNIFIED, params_with
from tests.train.test_leaves import MODALITIES, WIDTHS, embed, unit

CORPORA = {"captions": "text", "photos": "image", "sounds": "audio", "shapes": "point"}
TASKS = {
    "audio_point": {"modalities": ["audio", "point"]},
    "image_text": {"modalities": ["image", "text"], "space": "clip"},
    "audio_image": {"modalities": ["audio", "image"], "baselines": "unified"},
}


def write_store(space: str, corpus: str, modality: str, rows: int) -> None:
    latents = unit(np.random.default_rng([*corpus.encode()]).standard_normal((rows, 12)))
    made = {
        "spec": {"encoder": "compact", "checkpoint": "x"},
        "modalities": MODALITIES[space],
        "dimension": WIDTHS[space],
    }
    folder = PartFolder(Path("data/embeddings") / space / corpus / modality, EMBEDDINGS, {**made, "modality": modality})
    keys = [f"{row:03d}" for row in range(rows)]  # Equal in every corpus: a key belongs to its corpus.
    content = Rows(keys, {EMBEDDING_COLUMN: embed(space, modality, latents, 0)}, {})
    folder.commit("part-00000.parquet", corpus, keys, [], lambda path: write_rows(path, content, {}))
    folder.finish(0.0)


def write_params(**changes: object) -> None:
    raw = params_with({**UNIFIED, **changes})
    raw["connections"] = {"unified": raw["connections"]["unified"]}
    common = {"task": "retrieval", "corpus": "heldout", "connections": ["unified"]}
    raw["evaluate"] = {
        "bootstrap": 20,
        "examples": 2,
        "tasks": {name: {**common, **task} for name, task in TASKS.items()},
    }
    Path("params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


def mcr(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


class Toy:
    """A frozen space whose embedding is the byte values of the payload."""

    dimension = 20

    def preprocess(self, modality: str, payload: bytes) -> torch.Tensor:
        return torch.tensor(list(payload), dtype=torch.float32)

    def encode(self, modality: str, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(batch, dim=-1)


def test_from_stores_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for space, modalities in MODALITIES.items():
        for modality in modalities:
            write_store(space, next(name for name, held in CORPORA.items() if held == modality), modality, 70)
            write_store(space, "heldout", modality, 30)
    train = {"epochs": 2, "batch_size": 32, "projector": {"hidden": 24}}
    write_params(train=train)
    output = mcr("retrieve", "unified")
    sets = ("clap/overlap", "clap/leaf", "clap/base", "ulip/leaf")  # Of ulip the params want one only.
    assert [line.split(":")[0] for line in output.splitlines()] == [f"retrieve unified/{name}" for name in sets]
    output = mcr("train", "unified")
    assert "train unified/clap: in 210 = 192 used" in output and "train unified/ulip: in 70 = 64 used" in output
    mcr("evaluate")
    metrics = pd.read_parquet("data/metrics/metrics.parquet").set_index(["task", "method", "direction", "metric"]).value
    kept = metrics["image_text"]
    assert kept["exmcr"].equals(kept["frozen"])
    assert "untrained" in metrics["audio_image"].index.get_level_values(0)
    assert "report:" in mcr("report")
    assert "they meet in clip" in Path("data/reports/index.html").read_text()

    # A sound finds shapes, each through its own leaf and its own layers.
    monkeypatch.setattr(connected_space, "load_space", lambda spec, device: Toy())
    Path("bell.flac").write_bytes(bytes(range(1, 21)))
    query = ConnectedSpace.load("data/models/unified").embed("audio", [Path("bell.flac").read_bytes()])[0]
    keys, shapes = read_embeddings([Path("data/embeddings/ulip/shapes/point")])
    scores = ConnectedSpace.load("data/models/unified").project("ulip", shapes, "point") @ query
    lines = mcr("search", "bell.flac", "--in", "point", "-k", "3").splitlines()
    best = scores.topk(3)
    assert lines == [
        f"{s:6.3f}  shapes/{keys[i]}" for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]

    pairs, models = files("data/pairs"), files("data/models")
    mcr("retrieve", "unified")
    mcr("train", "unified")
    assert (files("data/pairs"), files("data/models")) == (pairs, models)

    # Fewer sets for one leaf: the others' files stay as they are, what is no longer wanted goes.
    write_params(train=train, retrieve={"temperature": 0.02, "sets": ["overlap", "leaf"]})
    mcr("retrieve", "unified")
    assert files("data/pairs") == {name: data for name, data in pairs.items() if "/clap/base/" not in name}
    assert "train unified/clap: in 140 = 128 used" in mcr("train", "unified")
    after = files("data/models")
    assert after.keys() == models.keys()
    changed = {name for name in models if after[name] != models[name]}
    assert not [name for name in changed if "/ulip/" in name]
    assert "data/models/unified/clap/projector.safetensors" in changed

    # Another temperature reaches every set.
    write_params(train=train, retrieve={"temperature": 0.2, "sets": ["overlap", "leaf"]})
    assert mcr("retrieve", "unified").count("1 of 1 parts computed") == 3
