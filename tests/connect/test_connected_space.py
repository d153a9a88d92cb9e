"""The connected space as a user meets it: load, project, embed, and plain words when something does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline.connect.connected_space as module
from pipeline.connect import ConnectedSpace, build_projector
from pipeline.connect.config import ConnectionConfig
from pipeline.connect.weights import save_projectors
from pipeline.errors import CorruptError, SampleError, UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.hashing import sha256_file
from pipeline.spaces import SpaceSpec
from tests.connect.test_projectors import LAYERS, seeded, slow, used
from tests.makers.links import make_link

CONFIG: dict[str, Any] = {
    "code": 1,
    "connection": "audio_image",
    "method": "cmcr",
    "spaces": {
        "clip": {
            "spec": {"encoder": "toy", "checkpoint": "c"},
            "modalities": ["text", "image"],
            "dimension": 8,
            "x": 1,
        },
        "clap": {"spec": {"encoder": "toy", "checkpoint": "a"}, "modalities": ["text", "audio"], "dimension": 5},
    },
    "links": [{**make_link().model_dump(), "train": {"epochs": 1}, "pairs": "0" * 64}],
    "projectors": {
        "clip": {"kind": "mlp", "input": 8, "hidden": 6, "dimension": 16},
        "clap": {"kind": "linear", "input": 5, "hidden": 6, "dimension": 16},
    },
    "seed": 0,
    "threads": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = ConnectionConfig.model_validate(CONFIG)
    heads = {
        name: used(build_projector(spec, generator=seeded()), spec.input) for name, spec in config.projectors.items()
    }
    save_projectors(tmp_path / "projector.safetensors", heads)
    digest = sha256_file(tmp_path / "projector.safetensors")
    config.model_copy(update={"files": {"projector.safetensors": digest}}).save(tmp_path)
    return tmp_path


def change(folder: Path, *path: str, value: object) -> None:
    content = read_sealed(folder / "config.json")
    entry = content
    for name in path[:-1]:
        entry = entry[name]
    entry[path[-1]] = value
    write_sealed(folder / "config.json", content)


def test_what_it_says_about_itself(folder: Path) -> None:
    space = ConnectedSpace.load(str(folder))
    assert space.modalities == ("text", "image", "audio")
    assert space.dimension == 16
    assert [space.space_of(modality) for modality in space.modalities] == ["clip", "clip", "clap"]
    assert space.config.spaces["clip"].model_dump()["x"] == 1
    with pytest.raises(UserError, match="no modality 'point'") as error:
        space.space_of("point")
    assert "text, image, audio" in error.value.hint


@pytest.mark.parametrize(("name", "kind", "width"), [("clip", "mlp", 8), ("clap", "linear", 5)])
def test_project_equals_the_slow_reference_in_any_batching(
    folder: Path, name: str, kind: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = ConnectedSpace.load(folder)
    rows = np.random.default_rng(0).standard_normal((37, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = slow(space._connected._projectors[name], rows, LAYERS[kind])
    found = space.project(name, rows.astype(np.float32))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    monkeypatch.setattr(module, "PROJECT_ROWS", 10)
    np.testing.assert_allclose(space.project(name, torch.from_numpy(rows)).numpy(), expected, atol=1e-6)
    assert space.project(name, rows[:0]).shape == (0, 16)
    found.mul_(2)  # An ordinary tensor, not one that inference mode has locked.


def test_project_refuses_what_does_not_fit(folder: Path) -> None:
    space = ConnectedSpace.load(folder)
    with pytest.raises(UserError, match="no space 'ulip'"):
        space.project("ulip", torch.zeros(1, 8))
    with pytest.raises(UserError, match=r"shape \[2, 5\] cannot be projected from clip"):
        space.project("clip", torch.zeros(2, 5))
    with pytest.raises(UserError, match=r"shape \[8\]"):
        space.project("clip", torch.zeros(8))


class Toy:
    """A frozen space whose embedding is the byte values of the payload."""

    def __init__(self, spec: SpaceSpec) -> None:
        self.dimension = 8 if spec.checkpoint == "c" else 5

    def preprocess(self, modality: str, payload: bytes) -> torch.Tensor:
        if not payload:
            raise SampleError("decode", "it is empty")
        return torch.tensor(list(payload), dtype=torch.float32)

    def encode(self, modality: str, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(batch, dim=-1)


def test_embed_loads_the_frozen_space_once_and_projects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(spec: SpaceSpec, device: str) -> Toy:
        loaded.append(spec.checkpoint)
        return Toy(spec)

    monkeypatch.setattr(module, "load_space", load)
    monkeypatch.setattr("pipeline.connect.embed.EMBED_ROWS", 2)
    space = ConnectedSpace.load(folder)
    assert loaded == []
    payloads = [bytes(range(start, start + 8)) for start in range(1, 6)]
    found = space.embed("image", payloads)
    raw = torch.nn.functional.normalize(torch.tensor([list(payload) for payload in payloads]).float(), dim=-1)
    torch.testing.assert_close(found, space.project("clip", raw))
    assert space.embed("text", payloads).shape == (5, 16)
    assert loaded == ["c"]
    assert space.embed("text", [b"abcde"], space="clap").shape == (1, 16)
    assert loaded == ["c", "a"]
    assert space.embed("audio", []).shape == (0, 16)
    with pytest.raises(UserError, match="Item 2 is not a usable image"):
        space.embed("image", [payloads[0], payloads[1], b""])
    with pytest.raises(UserError, match="no space 'clap' that embeds 'image'"):
        space.embed("image", payloads, space="clap")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema_version",), 3, "schema version 3"),
        (("spaces", "clip", "dimension"), "many", r"spaces\.clip\.dimension"),
        (("surprise",), 1, "surprise"),
        (("spaces", "clip", "dimension"), 9, "takes 8 numbers, but the space has 9"),
        (("projectors", "clip", "dimension"), 3, "different output widths"),
        (("projectors",), {}, "projectors for"),
        (("projectors", "clip", "hidden"), 7, r"clip\.net1\.0\.bias is \[6\] instead of \[7\]"),
        (("projectors", "clip", "kind"), "mpl", "no projector kind"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    folder: Path, path: tuple[str, ...], value: object, message: str
) -> None:
    change(folder, *path, value=value)
    with pytest.raises(UserError, match=message):
        ConnectedSpace.load(folder)


def test_missing_unreadable_and_exchanged_files(folder: Path, tmp_path: Path) -> None:
    change(folder, "files", value={"projector.safetensors": "0" * 64})
    with pytest.raises(CorruptError, match="not the file that was trained"):
        ConnectedSpace.load(folder)
    for content in ("{", "[]", "3"):
        (folder / "config.json").write_text(content)
        with pytest.raises(CorruptError, match=r"config\.json"):
            ConnectedSpace.load(folder)
    with pytest.raises(UserError, match="not a finished connection"):
        ConnectedSpace.load(tmp_path / "nothing")
