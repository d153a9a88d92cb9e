"""The JSON API and who may ask it: what is found, what is refused and in which words."""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pipeline.connect import ConnectedSpace
from pipeline.decode.isolated import POSSIBLE
from pipeline.errors import UserError
from pipeline.explore.answers import Item
from pipeline.explore.plane import plane
from pipeline.params.load import load_params
from pipeline.store import read_embeddings
from stages.tools.serve import _listen, make_application
from tests.makers.small_project import mcr

testclient = pytest.importorskip("starlette.testclient")
BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def folder(made_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(made_project, copy)
    return copy


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Any]:
    with contextlib.chdir(folder):
        app = make_application(load_params(Path("params.yaml")), [])
        with testclient.TestClient(app, base_url=BASE, raise_server_exceptions=False) as made:
            yield made


@pytest.fixture
def client(served: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application over a project that the tests share, which is the working directory."""
    monkeypatch.chdir(folder)
    return served


def found(client: Any, **request: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/search", json={"connections": ["audio_image"], "count": 3} | request)
    assert answer.status_code == 200, answer.text
    return answer.json()["found"]


def sent(client: Any, name: str, content: bytes) -> Any:
    return client.post(f"/api/upload?name={name}", content=content)


def test_words_find_what_mcr_search_finds_and_sides_are_beside_each_other(client: Any) -> None:
    one, two = found(client, text="a photo of w1", connections=["audio_image", "bridged"], corpora=["photos"])
    assert (one["connection"], two["connection"]) == ("audio_image", "bridged")
    for side, keep in ((one, 0.0), (two, 0.9)):
        space = ConnectedSpace.load(f"data/models/{side['connection']}", keep=keep)
        keys, vectors = read_embeddings([Path("data/embeddings/clip/photos/image")])
        scores = space.project("clip", vectors, "image") @ space.embed("text", [b"a photo of w1"])[0]
        assert [item["key"] for item in side["results"]] == [keys[row] for row in scores.argsort(descending=True)[:3]]
        assert side["results"][0]["score"] == pytest.approx(float(scores.max()), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "into"), [("photos/p03.png", "audio"), ("sounds/s03.flac", "image"), ("shapes/s03.npy", "text")]
)
def test_a_file_finds_what_it_would_from_the_terminal(client: Any, name: str, into: str) -> None:
    path = Path("data/raw", name)
    answer = sent(client, path.name, path.read_bytes()).json()
    connection = "unified" if "shapes" in name else "audio_image"
    [side] = found(client, upload=answer["upload"], into=into, connections=[connection])
    space = ConnectedSpace.load(f"data/models/{connection}")
    query = space.embed(answer["modality"], [path.read_bytes()])[0]
    best = side["results"][0]
    where = {"audio": "clap", "image": "clip", "text": "clip"}[into]
    keys, vectors = read_embeddings([Path("data/embeddings", where, best["corpus"], into)])
    score = space.project(where, vectors[[keys.index(best["key"])]], into)[0] @ query
    assert best["score"] == pytest.approx(float(score), abs=1e-5)


def test_more_like_this_leaves_the_item_itself_out(client: Any) -> None:
    [side] = found(client, text="a photo of w1", corpora=["photos"])
    item = {name: side["results"][0][name] for name in ("corpus", "shard", "key", "modality")}
    [like] = found(client, item=item, into="image", corpora=["photos"], count=11)
    assert len(like["results"]) == 11 and item["key"] not in [one["key"] for one in like["results"]]
    [sounds] = found(client, item=item, into="audio")
    assert {one["modality"] for one in sounds["results"]} == {"audio"}


def test_corpora_are_filtered_and_named(client: Any) -> None:
    facts = client.get("/api/facts").json()
    [one] = [fact for fact in facts["connections"] if fact["name"] == "audio_image"]
    assert one["corpora"] == {
        "image": ["photos", "heldout"],
        "audio": ["sounds", "heldout"],
        "text": ["captions", "heldout"],
    }
    assert {item["corpus"] for item in found(client, text="w1", corpora=["heldout"], count=50)[0]["results"]} == {
        "heldout"
    }
    assert facts["largest"]["text"] == 65_536 and "obj" in facts["endings"]["point"]


def test_what_pseudo_pairs_are_made_of(client: Any) -> None:
    answer = client.post(
        "/api/partners", json={"connection": "audio_image", "text": "a photo of w1", "count": 4}
    ).json()
    assert [memory["space"] for memory in answer["memories"]] == ["clip", "clap"]
    space = ConnectedSpace.load("data/models/audio_image")
    for memory, corpus, modality in zip(answer["memories"], ("photos", "sounds"), ("image", "audio"), strict=True):
        frozen = space.frozen_space(memory["space"])
        query = frozen.encode("text", frozen.preprocess("text", b"a photo of w1")[None])[0].double().numpy()
        keys, vectors = read_embeddings([Path("data/embeddings", memory["space"], corpus, modality)])
        logits = vectors.astype(float) @ query / 0.1
        weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        expected = {keys[row]: weights[row] for row in np.argsort(-weights)[:4]}
        assert {one["key"]: one["score"] for one in memory["results"]} == pytest.approx(expected, abs=1e-4)
    bridge = client.post("/api/partners", json={"connection": "bridged", "text": "w1"}).json()
    assert not bridge["memories"] and "does not average" in bridge["note"]


def test_the_map_has_every_item_and_equal_axes(client: Any) -> None:
    answer = client.get("/api/map?connection=audio_image").json()
    assert len(answer["places"]) == 12 + 8 + 10 + 8 + 24 + 8
    assert max(abs(place[axis]) for place in answer["places"] for axis in "xy") == pytest.approx(1, abs=1e-4)
    assert client.get("/api/map?connection=audio_image").json() == answer


def test_the_plane_is_that_of_a_plain_decomposition() -> None:
    rows = [torch.randn(30, 5) + 3, torch.randn(40, 5) - 3]
    points, explained = plane(rows, ["a", "b"])
    centred = np.concatenate([(group - group.mean(0)).numpy() for group in rows]).astype(float)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    expected = expected / np.abs(expected).max()
    assert np.allclose(np.abs(points.numpy()), np.abs(expected), atol=1e-5)
    assert explained == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), abs=1e-6)


def test_samples_are_shown(client: Any) -> None:
    picture = client.get("/media/picture/photos/00000.tar/p03")
    assert picture.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(picture.content)).size == (8, 8)
    assert client.get("/media/spectrogram/sounds/00000.tar/s03").content.startswith(b"\x89PNG")
    sound = client.get("/media/sound/sounds/00000.tar/s03")
    wave, rate = soundfile.read(io.BytesIO(sound.content))
    expected, _ = soundfile.read("data/raw/sounds/s03.flac")
    assert rate == 8000 and np.allclose(wave, expected, atol=1e-4)
    part = client.get("/media/sound/sounds/00000.tar/s03", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == sound.content[10:20]
    for range_ in ("bytes=²-3", f"bytes=0-{'9' * 5000}", "bytes=9-1", "bytes=-5", "lines=1-2"):
        whole = client.get("/media/sound/sounds/00000.tar/s03", headers={"Range": range_.encode("latin-1")})
        assert whole.status_code == 200 and whole.content == sound.content, range_
    points = np.frombuffer(client.get("/media/points/shapes/00000.tar/s03").content, "<f4").reshape(-1, 6)
    assert len(points) == 96 and np.abs(points[:, :3]).max() == pytest.approx(1)
    upload = sent(client, "mine.png", Path("data/raw/photos/p03.png").read_bytes()).json()["upload"]
    assert client.get(f"/sent/picture/{upload}").content == picture.content
    for gone in ("photos/00000.tar/nothing", "nowhere/00000.tar/p03", "photos/00009.tar/p03"):
        assert client.get(f"/media/picture/{gone}").status_code == 404
    for strange in ("../params.yaml", "%2e%2e/%2e%2e/params.yaml", "photos/params.yaml/p03", "photos/..%2f0.tar/p03"):
        assert client.get(f"/media/picture/{strange}").status_code in (400, 404)
    assert client.get("/media/else/photos/00000.tar/p03").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "empty"),
        ("a.png", b"GIF8 not", "does not hold image data"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50, "usable image|cannot"),
        ("a.flac", b"fLaC" + b"\0" * 50, "usable audio|not audio"),
        ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }", "usable point"),
        ("a.obj", b"not a mesh at all", "usable point"),
        ("a.txt", b"\xff\xfe\x00", "NUL|UTF-"),
        ("a.txt", b"x" * 70_000, "more than 65,536 bytes"),
        ("a.exe", b"MZ", "is not a supported kind of file"),
        ("", b"x", "is not a supported kind of file"),
    ],
)
def test_a_bad_upload_gets_a_sentence(client: Any, name: str, content: bytes, said: str) -> None:
    import re

    answer = sent(client, name, content)
    if answer.status_code == 200:  # what only a decoder can tell is told when it is decoded
        answer = client.post(
            "/api/search",
            json={"connections": ["unified"], "upload": answer.json()["upload"], "into": "image"},
        )
    assert answer.status_code == 400 and re.search(said, answer.json()["error"]), answer.text
    assert answer.json()["hint"] and "Traceback" not in answer.text and "Item 0" not in answer.text


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "connections"),
        ({"connections": ["nothing"], "text": "a"}, "no connection 'nothing'"),
        ({"connections": ["audio_image"], "text": " "}, "Nothing is asked"),
        ({"connections": ["audio_image"], "text": "a", "into": "point"}, "no point to search"),
        ({"connections": ["audio_image"], "text": "a", "count": 0}, "count"),
        ({"connections": ["audio_image"], "text": "a", "corpora": ["../x"]}, "corpora"),
        ({"connections": ["audio_image"], "upload": "0" * 64}, "no longer in memory"),
        ({"connections": ["audio_image"], "text": "a", "strange": 1}, "strange"),
        ({"connections": ["audio_image"], "item": {"corpus": "photos", "shard": "0.tar", "key": "x", "modality": "image"}}, "no x in photos"),
    ],
)  # fmt: skip
def test_a_bad_question_gets_a_sentence(client: Any, request_: dict[str, Any], said: str) -> None:
    answer = client.post("/api/search", json=request_)
    assert answer.status_code == 400 and said in answer.json()["error"], answer.text


def test_what_is_no_json_is_refused(client: Any) -> None:
    deep = b"[" * 100_000
    for content, kind in (
        (b"{", "application/json"),
        (b"{}", "text/plain"),
        (b"x" * (2 << 20), "application/json"),
        (deep, "application/json"),
        (b'{"a": ' * 100_000, "application/json"),
    ):
        assert client.post("/api/search", content=content, headers={"Content-Type": kind}).status_code == 400
    question = json.dumps({"connections": ["audio_image"], "text": "a photo", "into": "image"})
    for kind in ("application/json", "Application/JSON; charset=UTF-8"):
        assert client.post("/api/search", content=question, headers={"Content-Type": kind}).status_code == 200
    assert client.put("/api/search").status_code == 405
    assert client.get("/nothing").status_code == 404 and client.get("/api/nothing").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8765"},
        {"Host": "evil.example:8765"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_others_are_refused_everywhere(client: Any, headers: dict[str, str]) -> None:
    for path in ("/", "/page.js", "/api/facts", "/media/picture/photos/00000.tar/p03"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403 and "photos" not in answer.text
    body = {"connections": ["audio_image"], "text": "a"}
    assert client.post("/api/search", json=body, headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_of_others_opens_the_page_and_nothing_else(client: Any, site: str) -> None:
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=followed).status_code == 200
    for path in ("/page.js", "/api/facts", "/api/map?connection=audio_image", "/media/picture/photos/00000.tar/p03"):
        assert client.get(path, headers=followed).status_code == 403
    for odd in (
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Host": "evil.example"},
        {"Origin": "null"},
    ):
        assert client.get("/", headers=followed | odd).status_code == 403
    assert client.post("/", headers=followed).status_code in (403, 405)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST:1", "127.0.0.1"])
def test_loopback_by_any_of_its_names_is_answered(client: Any, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/facts", headers=headers).status_code == 200


def test_every_answer_forbids_requests_to_others(client: Any) -> None:
    for path in ("/", "/page.css", "/api/facts", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    for name in ("", "page.js", "page.css"):
        assert "http://" not in client.get(f"/{name}").text.replace("http://www.w3.org", "")


def test_an_answer_to_a_bug_forbids_them_too(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.explore.explorer.plane", lambda *_: 1 / 0)
    answer = client.get("/api/map?connection=audio_image")
    assert answer.status_code == 500 and answer.json()["error"] == "Unexpected ZeroDivisionError."
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_map_of_nothing_is_refused_in_words(client: Any, folder: Path) -> None:
    """A clone with models and without embeddings."""
    Path("data/embeddings").rename("data/elsewhere")
    try:
        app = make_application(load_params(Path("params.yaml")), ["audio_image"])
        with testclient.TestClient(app, base_url=BASE, raise_server_exceptions=False) as bare:
            answer = bare.get("/api/map?connection=audio_image")
            assert answer.status_code == 400 and "nothing to show" in answer.json()["error"], answer.text
            assert (
                "has no image to search"
                in bare.post("/api/search", json={"connections": ["audio_image"], "text": "a"}).json()["error"]
            )
    finally:
        Path("data/elsewhere").rename("data/embeddings")


def test_a_copy_of_a_store_that_somebody_keeps_is_no_corpus(client: Any) -> None:
    copy = Path("data/embeddings/clip/photos.old")
    shutil.copytree("data/embeddings/clip/photos", copy)
    try:
        app = make_application(load_params(Path("params.yaml")), ["audio_image"])
        with testclient.TestClient(app, base_url=BASE, raise_server_exceptions=False) as other:
            assert {item["corpus"] for item in found(other, text="a photo", count=50)[0]["results"]} == {
                "photos",
                "heldout",
            }
    finally:
        shutil.rmtree(copy)


@pytest.mark.skipif(not POSSIBLE, reason="nothing is forked here")
def test_the_processes_that_decode_end_with_the_application(client: Any) -> None:
    def forked() -> set[str]:
        pid = os.getpid()
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    before = forked()
    app = make_application(load_params(Path("params.yaml")), ["audio_image"])
    with testclient.TestClient(app, base_url=BASE):
        assert forked() > before
    assert forked() == before


@pytest.mark.parametrize("shard", ["00000.tar", "a100000.tar", "b1000000.tar"])
def test_a_shard_may_have_any_number(shard: str) -> None:
    """Beyond 99,999 a letter keeps names in order."""
    item = {"corpus": "photos", "shard": shard, "key": "p", "modality": "image"}
    assert Item(**item).shard == shard
    for strange in ("../0.tar", "aa1.tar", "1.tar.gz", "1.tar\n"):
        with pytest.raises(ValueError, match="shard"):
            Item(**item | {"shard": strange})


def test_asking_changes_no_file_but_the_index(client: Any, folder: Path, tree_bytes: Any) -> None:
    shutil.rmtree("data/index", ignore_errors=True)
    before = tree_bytes(folder)
    found(client, text="a photo")
    sent(client, "mine.png", Path("data/raw/photos/p03.png").read_bytes())
    client.get("/api/map?connection=bridged")
    after = tree_bytes(folder)
    assert {name: content for name, content in after.items() if not name.startswith("data/index/")} == before


def test_a_connection_that_was_trained_again_is_not_answered_from_the_old_one(client: Any) -> None:
    config = Path("data/models/audio_image/config.json")
    before = config.read_bytes()
    question = {"connections": ["audio_image"], "text": "a photo", "into": "image"}
    for change in (lambda: config.write_bytes(before + b" "), config.unlink):
        try:
            change()
            for answer in (
                client.post("/api/search", json=question),
                client.get("/api/map?connection=audio_image"),
                client.post("/api/partners", json={"connection": "audio_image", "text": "a photo"}),
            ):
                assert answer.status_code == 400 and "trained again, or removed" in answer.json()["error"]
            assert client.post("/api/search", json=question | {"connections": ["unified"]}).status_code == 200
        finally:
            config.write_bytes(before)
    assert client.post("/api/search", json=question).status_code == 200


def test_the_schema_describes_what_is_answered(client: Any) -> None:
    schema = client.get("/api/schema").json()
    assert {"Search", "Results", "Map", "Refused"} <= schema["$defs"].keys()
    side = found(client, text="a photo")[0]
    assert side.keys() == schema["$defs"]["Found"]["properties"].keys()
    assert side["results"][0].keys() == schema["$defs"]["Scored"]["properties"].keys()
    assert json.dumps(schema)


def test_a_port_that_is_taken_is_said() -> None:
    with _listen(0) as taken, pytest.raises(UserError, match="cannot be used") as error:
        _listen(taken.getsockname()[1])
    assert "--port 0" in error.value.hint


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs {package}, which is not installed") as error:
        mcr("serve")
    assert "mcr-connect[serve]" in error.value.hint


def test_only_connections_that_are_there_are_served(small_project: Path) -> None:
    params = load_params(Path("params.yaml"))
    with pytest.raises(UserError, match="no connection 'nothing'"):
        make_application(params, ["nothing"])
    for path in Path("data/models").glob("*/config.json"):
        path.unlink()
    with pytest.raises(UserError, match="No connection is trained yet"):
        make_application(params, [])
