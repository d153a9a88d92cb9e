"""What is published is loaded elsewhere, with the same vectors to the bit, and names nothing of this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mcr_connect import embed
from pipeline.connect import ConnectedSpace
from pipeline.connect.config import ConnectionConfig, load_config
from pipeline.connect.origins import Origin, OriginFile
from pipeline.errors import CorruptError, TryAgainError, UserError
from pipeline.hashing import sha256_file
from pipeline.publish.upload import repository_of, upload
from tests.fetch.hub import Hub, serve
from tests.fetch.uploads import TOKEN
from tests.makers.small_project import CONNECTIONS, mcr

INCLUDED = ("--include", "clip", "--include", "clap")


def vectors(space: ConnectedSpace, raw: Path) -> dict[str, torch.Tensor]:
    """Embeddings of a few files of each modality."""
    found = {
        "image": [path.read_bytes() for path in sorted((raw / "photos").iterdir())[:5]],
        "audio": [path.read_bytes() for path in sorted((raw / "sounds").iterdir())[:5]],
        "point": [path.read_bytes() for path in sorted((raw / "shapes").iterdir())[:5]],
        "text": [b"a photo of w3 w1", b"of w0"],
    }
    return {modality: space.embed(modality, found[modality]) for modality in space.modalities}


def publish(name: str, folder: Path, *more: str) -> str:
    spaces = [*INCLUDED, "--include", "ulip"] if name == "unified" else INCLUDED
    return mcr("publish", str(folder), "--connection", name, *spaces, *more)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", CONNECTIONS)
def test_the_vectors_are_those_of_the_project(
    small_project: Path, elsewhere: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = 0.9 if name == "bridged" else 0.0
    expected = vectors(ConnectedSpace.load(f"data/models/{name}", keep=keep), small_project / "data/raw")
    publish(name, elsewhere / "given")
    shutil.move(str(small_project), str(elsewhere / "gone"))
    monkeypatch.chdir(elsewhere)
    found = vectors(ConnectedSpace.from_pretrained("given"), elsewhere / "gone/data/raw")
    assert found.keys() == expected.keys() and len(found) >= 3
    assert all(torch.equal(found[modality], expected[modality]) for modality in found)


def test_nothing_of_this_machine_and_no_raw_data_is_published(small_project: Path, elsewhere: Path) -> None:
    spaces, models = small_project / "data/spaces", small_project / "data/models"
    params = yaml.safe_load(Path("params.yaml").read_text())
    for name, space in params["spaces"].items():
        space["checkpoint"] = str(spaces / name)  # as somebody writes it whose weights lie on another disk
    Path("params.yaml").write_text(yaml.safe_dump(params))
    for path in models.rglob("config.json"):
        content = json.dumps(load_config(path.parent).model_dump(mode="json"))
        ConnectionConfig.model_validate_json(content.replace('"data/spaces/', f'"{spaces}/')).save(path.parent)
    for name in CONNECTIONS:
        given = elsewhere / name
        publish(name, given, "--licence", "apache-2.0")
        for path in given.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert str(small_project).encode() not in content and b"/tmp/" not in content, path
                assert path.suffix in (".json", ".md", ".safetensors", ".npy"), path
        raw = {sha256_file(path) for path in Path("data/raw").rglob("*") if path.is_file()}
        assert not raw & {sha256_file(path) for path in given.rglob("*") if path.is_file()}
        assert ConnectedSpace.from_pretrained(given).embed("text", [b"a photo"]).isfinite().all()


def test_the_card_says_what_is_needed(small_project: Path, elsewhere: Path) -> None:
    publish("audio_image", elsewhere / "given", "--licence", "apache-2.0")
    card = (elsewhere / "given/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0" and head["library_name"] == "mcr-connect"
    assert 'ConnectedSpace.from_pretrained("given")' in card and "from mcr_connect import ConnectedSpace" in card
    assert "in this folder: spaces/clip | not stated |" in card
    rows = json.loads((elsewhere / "given/metrics.json").read_text())
    measured = {row["metric"] for row in rows}
    assert {row["connection"] for row in rows} == {"audio_image"} and "R@10" in measured
    assert all({"value", "ci_low", "ci_high"} <= row.keys() for row in rows)


def test_equal_projects_give_equal_bytes_and_a_folder_is_brought_up_to_date(
    small_project: Path, elsewhere: Path, tree_bytes: Any
) -> None:
    publish("unified", elsewhere / "a")
    publish("audio_image", elsewhere / "b")
    (elsewhere / "b/notes.txt").write_text("mine")
    publish("unified", elsewhere / "b")
    found = tree_bytes(elsewhere / "b")
    assert found.pop("notes.txt") == b"mine"
    expected = tree_bytes(elsewhere / "a")
    found["README.md"] = found["README.md"].replace(b'("b")', b'("a")')
    assert found == expected


def test_a_folder_of_somebody_is_left_alone(small_project: Path, elsewhere: Path) -> None:
    (elsewhere / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        publish("audio_image", elsewhere)
    assert [path.name for path in elsewhere.iterdir()] == ["thesis.tex"]


def test_weights_that_were_not_given_are_asked_for_and_checked(small_project: Path, elsewhere: Path) -> None:
    said = mcr("publish", str(elsewhere / "given"), "--connection", "audio_image", "--include", "clap")
    assert "nobody else can load the space clip" in said
    assert not (elsewhere / "given/spaces/clip").exists()
    space = ConnectedSpace.from_pretrained(elsewhere / "given")
    assert space.embed("audio", [Path("data/raw/sounds/s01.flac").read_bytes()]).shape == (1, 4)
    with pytest.raises(UserError, match="weights of the space clip were not published") as error:
        space.embed("image", [b""])
    assert 'spaces={"clip": "path"}' in error.value.hint
    given = ConnectedSpace.from_pretrained(elsewhere / "given", spaces={"clip": "data/spaces/clip"})
    own = ConnectedSpace.load("data/models/audio_image")
    assert torch.equal(given.embed("text", [b"a photo"]), own.embed("text", [b"a photo"]))
    wrong = ConnectedSpace.from_pretrained(elsewhere / "given", spaces={"clip": "data/spaces/ulip"})
    with pytest.raises(UserError, match="clip is not the one that the connection was made with: sha256"):
        wrong.embed("text", [b"a photo"])
    with pytest.raises(UserError, match="no space 'clop'"):
        ConnectedSpace.from_pretrained(elsewhere / "given", spaces={"clop": "data/spaces/ulip"})


@pytest.mark.parametrize("file", ["clip-clap/projector.safetensors", "spaces/clip/weights.safetensors"])
def test_a_flipped_bit_is_noticed(small_project: Path, elsewhere: Path, file: str) -> None:
    publish("audio_image", elsewhere / "given")
    content = bytearray((elsewhere / "given" / file).read_bytes())
    content[-3] ^= 1
    (elsewhere / "given" / file).write_bytes(content)
    with pytest.raises((UserError, CorruptError)):
        ConnectedSpace.from_pretrained(elsewhere / "given").embed("text", [b"a photo"])


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "..", "a\\b", "c:x", "a//b"])
@pytest.mark.parametrize("field", ["checkpoint", "within", "files"])
def test_what_others_publish_cannot_lead_out_of_its_folder(tmp_path: Path, path: str, field: str) -> None:
    found = {path: {"sha256": "0" * 64}} if field == "files" else path
    (tmp_path / "origins.json").write_text(json.dumps({"spaces": {"clip": {field: found}}}))
    with pytest.raises(UserError, match="is not valid.*not a path within a folder"):
        ConnectedSpace.from_pretrained(tmp_path)


@pytest.mark.parametrize("reference", ["/data/spaces/clip", "../clip", "~/x"])
def test_a_reference_is_a_name_and_never_a_path(reference: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Origin(reference=reference)


def test_a_hash_in_origins_is_of_either_case_and_never_left_out() -> None:
    assert OriginFile(sha256="AB" * 32).sha256 == "ab" * 32
    for wrong in ("", "ab", "xy" * 32):
        with pytest.raises(ValueError, match="sha256"):
            OriginFile(sha256=wrong)


@pytest.mark.parametrize("source", ["data/models/audio_image", "data/raw", "no-such-folder", "a/b/c"])
def test_what_is_not_published_is_said(small_project: Path, source: str) -> None:
    with pytest.raises(UserError, match="not a published connection|neither a folder nor"):
        ConnectedSpace.from_pretrained(source)


def test_embed_takes_files_and_texts_through_either_kind_of_space(small_project: Path) -> None:
    space = ConnectedSpace.load("data/models/audio_image")
    files = ["data/raw/photos/p01.png", "data/raw/sounds/s01.flac"]
    rows = embed(space, files, ["a photo"])
    assert torch.equal(rows[1:2], space.embed("audio", [Path(files[1]).read_bytes()]))
    assert torch.equal(rows[2:], space.embed("text", [b"a photo"]))
    clip = space.frozen_space("clip")
    assert embed(clip, files[:1], ["a photo"]).shape == (2, 6)
    assert embed(clip, texts=["a photo"]).shape == (1, 6) and embed(space).shape == (0, 4)
    with pytest.raises(UserError, match="There is no file"):
        embed(space, ["dog.png"])
    for mistaken in ({"files": files[0]}, {"texts": "a photo"}, {"files": Path(files[0])}):
        with pytest.raises(UserError, match="must be a list"):
            embed(space, **mistaken)  # type: ignore[arg-type]
    Path("broken.png").write_bytes(Path(files[0]).read_bytes()[:60])
    for either in (space, clip):
        with pytest.raises(UserError, match="^broken.png is not a usable image"):
            embed(either, [files[0], "broken.png"])
    with pytest.raises(UserError, match="^broken.png is not a usable image"):
        mcr("search", "a photo", "broken.png")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as served:
        yield served


def run(hub: Hub, cwd: Path, *command: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """A command of a person who has nothing but the hub."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cwd / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


LOAD = """
import sys, torch
from mcr_connect import ConnectedSpace
torch.set_num_threads(1)
space = ConnectedSpace.from_pretrained("me/audio-image")
torch.save(space.embed("text", [b"a photo of w3 w1"]), sys.argv[1])
"""


def test_through_the_hub_with_an_encoder_of_others(small_project: Path, elsewhere: Path, hub: Hub) -> None:
    expected = ConnectedSpace.load("data/models/audio_image").embed("text", [b"a photo of w3 w1"])
    theirs = {path.name: path.read_bytes() for path in Path("data/spaces/clip").iterdir()}
    hub.add("them/clip", theirs, "b" * 40)
    params = yaml.safe_load(Path("params.yaml").read_text())
    files = {name: {} for name in theirs}
    params["fetch"] = {
        "clip": [
            {"repository": "them/clip", "revision": "main", "licence": "mit", "to": "data/spaces/clip", "files": files}
        ]
    }
    Path("params.yaml").write_text(yaml.safe_dump(params))
    shutil.rmtree("data/spaces/clip")
    python = sys.executable
    fetched = run(hub, small_project, python, "-m", "stages.cli", "fetch")
    assert fetched.returncode == 0, fetched.stderr
    arguments = ("publish", "--to", "hub:me/audio-image", "--connection", "audio_image", "--include", "clap")
    done = run(hub, small_project, python, "-m", "stages.cli", *arguments)
    assert done.returncode == 0, done.stderr
    assert "nobody else can load" not in done.stdout
    [commit] = {key for key in hub.repositories["me/audio-image"].commits if key != "0" * 40}
    assert f"me/audio-image, commit {commit}" in done.stdout
    published = hub.repositories["me/audio-image"].commits[commit]
    assert "spaces/clip/weights.safetensors" not in published
    assert hub.uploads.types["clip-clap/projector.safetensors"] == "lfs"
    card = published["README.md"].decode()
    assert "base_model: [" in card and f"`them/clip@{'b' * 12}` | mit |" in card
    assert 'from_pretrained("me/audio-image")' in card
    hub.add("them/clip", dict.fromkeys(theirs, b"replaced"), "c" * 40)  # a branch that moves changes nothing
    loaded = run(hub, elsewhere, python, "-c", LOAD, str(elsewhere / "found.pt"))
    assert loaded.returncode == 0, loaded.stderr
    assert torch.equal(torch.load(elsewhere / "found.pt"), expected)


@pytest.mark.parametrize("token", ["", "hf_reads"])
def test_who_may_not_write_is_told(small_project: Path, hub: Hub, token: str) -> None:
    done = run(hub, small_project, sys.executable, "-m", "stages.cli", "publish", "--to", "hub:me/x", token=token)
    assert done.returncode == 2 and "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_target_is_named(small_project: Path) -> None:
    for arguments in ([], ["--to", "me/x"], ["--to", "hub:x"], ["--to", "hub:../x/y"], ["--to", "hub:me/a--b"]):
        with pytest.raises(UserError):
            mcr("publish", *arguments)


@pytest.mark.parametrize("name", ["a--b", "a..b", "x.git", "-x", "x.", "x" * 97, "é"])
def test_a_name_that_the_hub_does_not_allow_is_said_before_anything_is_done(name: str) -> None:
    with pytest.raises(UserError, match="names no repository"):
        repository_of(f"hub:me/{name}")
    assert repository_of("hub:me/audio-image.v2") == "me/audio-image.v2"


@pytest.mark.parametrize(("offline", "kind"), [(True, UserError), (False, TryAgainError)])
def test_without_a_network_nothing_is_said_of_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, kind: type[Exception]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(kind, match="The repository me/x was not written") as error:
        upload(tmp_path, "me/x", [], False, "message")
    assert "fetch" not in f"{error.value} {error.value.hint}"
