"""A published connection that did not arrive whole, or was tampered with, is refused with what its user can do about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.connect import ConnectedSpace
from pipeline.connect.pretrained import published_folder
from pipeline.errors import CorruptError, McrError, TryAgainError, UserError
from pipeline.files.sealed import read_sealed, write_sealed
from tests.fetch.hub import Hub, serve
from tests.makers.small_project import mcr

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n"


@pytest.fixture
def given(small_project: Path) -> Path:
    mcr("publish", "given", "--connection", "audio_image", "--include", "clip", "--include", "clap")
    return Path("given")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve() as served:
        settings = {"ENDPOINT": served.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": False}
        for name, value in settings.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        addresses = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", addresses)
        yield served


@pytest.mark.parametrize("harm", ["missing", "pointer", "html"])
@pytest.mark.parametrize(
    "file",
    ["config.json", "clip-clap/projector.safetensors", "spaces/clip/weights.safetensors", "spaces/clip/config.json"],
)
def test_what_is_not_whole_is_to_be_fetched_again_and_never_trained(given: Path, file: str, harm: str) -> None:
    (given / file).unlink()
    if harm != "missing":
        (given / file).write_bytes(POINTER if harm == "pointer" else b"<html>Log in</html>")
    with pytest.raises((UserError, CorruptError)) as error:
        ConnectedSpace.from_pretrained(given).embed("text", [b"a photo"])
    assert file in str(error.value) and "Remove given and get it again" in error.value.hint
    if file.startswith("spaces/"):
        own = ConnectedSpace.from_pretrained(given, spaces={"clip": "data/spaces/clip"})
        assert torch.equal(
            own.embed("text", [b"a photo"]), ConnectedSpace.load("data/models/audio_image").embed("text", [b"a photo"])
        )


def test_what_a_newer_version_published_is_not_to_be_fetched_again(given: Path) -> None:
    write_sealed(given / "config.json", {**read_sealed(given / "config.json"), "schema_version": 99})
    with pytest.raises(UserError, match="schema version 99") as error:
        ConnectedSpace.from_pretrained(given)
    assert error.value.hint.startswith("Use the version of mcr-connect that wrote it")


@pytest.mark.parametrize("name", ["../mine.safetensors", "/etc/passwd", "a/../../b"])
def test_the_configuration_cannot_lead_out_of_its_folder(given: Path, name: str) -> None:
    config = read_sealed(given / "config.json")
    config["files"] = {name: "0" * 64}
    write_sealed(given / "config.json", config)
    with pytest.raises(UserError, match="is not valid: .* not a path within a folder"):
        ConnectedSpace.from_pretrained(given)


def test_included_weights_of_every_kind_are_fetched_and_nothing_else_is(hub: Hub) -> None:
    kinds = ("ViT-B-32.pt", "pytorch_model.bin", "merges.txt", "vocab/x.bpe", "text.onnx", "w.npz")
    hub.add("me/x", dict.fromkeys((*(f"spaces/clip/{name}" for name in kinds), "README.md", "notes.txt"), b"x"))
    folder = published_folder("me/x", None)
    assert {f"{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file()} == {
        f"spaces/clip/{name}" for name in kinds
    }


def test_a_download_that_broke_off_is_said_without_a_network(
    given: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{path.relative_to(given)}": path.read_bytes() for path in given.rglob("*") if path.is_file()}
    hub.add("me/x", files)
    folder = published_folder("me/x", None)
    (folder / "clip-clap/projector.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(UserError, match="is incomplete: it has no clip-clap/projector.safetensors") as error:
        ConnectedSpace.from_pretrained("me/x")
    assert f"Remove {folder.parent.parent} and" in error.value.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UserError),
        (403, UserError),
        (404, UserError),
        (429, TryAgainError),
        (500, TryAgainError),
        (503, TryAgainError),
    ],
)
def test_what_the_hub_answers_is_said(hub: Hub, status: int, kind: type[McrError]) -> None:
    hub.refused = status, "Not today"
    with pytest.raises(kind, match=f"answers {status}"):
        published_folder("me/x", None)


def test_an_answer_that_is_not_of_a_hub_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.refused = 204, ""
    with pytest.raises(UserError, match="answers as no hub does") as error:
        published_folder("me/x", None)
    assert "HF_ENDPOINT" in error.value.hint


@pytest.mark.parametrize(
    "endpoint", ["", " ", "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:9 ", "https:"]
)
def test_an_endpoint_that_is_no_address_is_told(hub: Hub, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(UserError, match="^HF_ENDPOINT is .*, which is not an address") as error:
        published_folder("me/x", None)
    assert "https://" in error.value.hint
