"""What is exported is what the project has: read back with other libraries alone."""

from pathlib import Path

import faiss
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.connect import ConnectedSpace
from pipeline.errors import UserError
from stages.cli import app


def export(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def rows(store: str) -> tuple[list[str], np.ndarray]:
    """Keys and embeddings of a store, without our reader."""
    table = pd.concat([pd.read_parquet(path) for path in sorted(Path("data/embeddings", store).glob("part-*.parquet"))])
    return list(table.key), np.frombuffer(b"".join(table.embedding), "<f4").reshape(len(table), -1)


@pytest.mark.parametrize(("store", "name"), [("clip/photos/image", "img_emb"), ("clip/captions/text", "text_emb"), ("clap/sounds/audio", "audio_emb")])  # fmt: skip
def test_arrays_lie_as_clip_retrieval_writes_them(small_project: Path, store: str, name: str) -> None:
    """Layout: clip_retrieval/clip_inference/writer.py of rom1504/clip-retrieval at 07d747b."""
    export("embeddings", "out", "--store", store)
    arrays = sorted(Path("out", name).iterdir())
    tables = sorted(Path("out/metadata").iterdir())
    assert [path.name.removeprefix(f"{name}_") for path in arrays] == [
        path.name.removeprefix("metadata_").replace(".parquet", ".npy") for path in tables
    ]
    keys, expected = rows(store)
    found = pd.concat([pd.read_parquet(path) for path in tables])
    np.testing.assert_array_equal(np.concatenate([np.load(path) for path in arrays]), expected)
    assert list(found.key) == list(found.image_path) == keys
    if store.endswith("text"):
        assert all(found.caption.str.len() > 0)


def test_what_was_exported_can_be_imported(small_project: Path) -> None:
    export("embeddings", "out", "--store", "clip/photos/image")
    done = CliRunner().invoke(app, ["import", "embeddings", "out", "--space", "clip", "--corpus", "back"])
    assert done.exit_code == 0, done.output
    (keys, expected), (back, found) = rows("clip/photos/image"), rows("clip/back/image")
    assert back == keys
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_index_of_faiss_finds_what_numpy_finds(small_project: Path) -> None:
    export("embeddings", "out", "--store", "clap/sounds/audio", "--connection", "audio_image", "--to", "faiss")
    keys, frozen = rows("clap/sounds/audio")
    space = ConnectedSpace.load(Path("data/models/audio_image"))
    connected = space.project("clap", frozen, "audio").numpy()
    index = faiss.read_index("out/index.faiss")
    scores, found = index.search(connected[:7], 5)
    assert index.ntotal == len(keys) and list(pd.read_parquet("out/keys.parquet").key) == keys
    expected = np.sort(connected[:7] @ connected.T, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert list(found[:, 0]) == list(range(7))


@pytest.mark.parametrize("connection", ["audio_image", "unified"])
def test_graphs_compute_what_projectors_compute(small_project: Path, connection: str) -> None:
    """Also Ex-MCR's two ways out of one leaf: its overlapping modality skips a layer."""
    export("projectors", "graphs", "--connection", connection)
    space = ConnectedSpace.load(Path("data/models", connection))
    ways = [
        (name, modality)
        for name, record in space.config.spaces.items()
        if name != space.config.base
        for modality in record.modalities
    ]
    assert {path.stem for path in Path("graphs").iterdir()} == {f"{name}-{modality}" for name, modality in ways}
    for name, modality in ways:
        width = space.config.spaces[name].dimension
        for count in (1, 5, 1000):
            given = np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)
            given /= np.linalg.norm(given, axis=1, keepdims=True)
            session = onnxruntime.InferenceSession(f"graphs/{name}-{modality}.onnx")
            [found] = session.run(None, {"embeddings": given})
            np.testing.assert_allclose(found, space.project(name, given, modality).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embeddings", "out", "--store", "clip/photos"], "is not the name of a store"),
        (["embeddings", "out", "--store", "../../x"], "is not the name of a store"),
        (["embeddings", "out", "--store", "clip/none/image"], "has no _manifest.json"),
        (["embeddings", "out", "--store", "clip/photos/image", "--to", "csv"], "There is no kind 'csv'"),
        (["embeddings", "data", "--store", "clip/photos/image"], "is not an empty folder"),
        (["embeddings", "out", "--store", "ulip/shapes/point", "--connection", "audio_image"], "does not connect 'ulip'"),
        (["projectors", "data", "--connection", "audio_image"], "is not an empty folder"),
        (["projectors", "out", "--connection", "bridged"], "has no projectors"),
        (["projectors", "out", "--connection", "nothing"], "There is no connection"),
    ],
)  # fmt: skip
def test_mistakes_are_said(small_project: Path, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["export", *arguments])
    assert isinstance(done.exception, UserError) and said in done.exception.message
    assert not Path("out").exists() or not any(Path("out").iterdir())
