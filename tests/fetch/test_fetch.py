"""`mcr fetch` against a small hub on loopback: what breaks off continues, and nothing wrong gets a right name."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import CorruptError, McrError, TryAgainError, UserError
from pipeline.fetch.download import git_blob
from pipeline.fetch.record import Record
from pipeline.fetch.run import fetch, wanted_files
from pipeline.fetch.settings import FetchedRepository, total_size
from pipeline.params.load import read_raw
from pipeline.spaces import SpaceSpec, load_space
from tests.fetch.hub import Hub, serve
from tests.spaces.transformers.make_models import make_clip

ROOT = Path(__file__).parents[2]
NAME, COMMIT = "owner/model", "a" * 40
WEIGHTS = bytes(range(256)) * 4000
CONFIG = b'{"width": 8}'
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN_PATH", os.devnull)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's own retries
    with serve() as served:
        served.add(NAME, {"weights.pt": WEIGHTS, "sub/config.json": CONFIG})
        yield served


@pytest.fixture
def get(hub: Hub, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    """Fetch files of the repository to ``space``; name and outcome of each."""

    def run(files: dict[str, object] | None = None, **settings: object) -> list[tuple[str, str]]:
        named = {"weights.pt": {}, "sub/config.json": {}} if files is None else files
        defaults = {"repository": NAME, "revision": COMMIT, "licence": "mit", "to": str(tmp_path / "space")}
        entry = FetchedRepository.model_validate(defaults | settings | {"files": named})
        done = fetch(wanted_files([entry]), Record(tmp_path / "fetched.json"), endpoint=hub.url)
        return [(file.target.name, how) for file, _, how in done]

    return run


def test_files_arrive_under_their_own_names_and_are_remembered(get, hub: Hub, tmp_path: Path) -> None:
    assert get() == [("weights.pt", "fetched"), ("config.json", "fetched")]
    assert (tmp_path / "space" / "weights.pt").read_bytes() == WEIGHTS
    assert (tmp_path / "space" / "config.json").read_bytes() == CONFIG
    assert {path.name for path in (tmp_path / "space").iterdir()} == {"weights.pt", "config.json"}
    record = json.loads((tmp_path / "fetched.json").read_text())[str(tmp_path / "space" / "weights.pt")]
    assert (record["sha256"], record["commit"], record["licence"]) == (SHA256, COMMIT, "mit")
    hub.asked.clear()
    assert get() == [("weights.pt", "there"), ("config.json", "there")]
    assert not hub.asked, "what is there needs no network"


@pytest.mark.parametrize("cuts", [[500_000], [300_000, 1, 200_000], [0, 0]])
def test_a_cut_connection_is_taken_up_again(get, hub: Hub, tmp_path: Path, cuts: list[int]) -> None:
    hub.cut["weights.pt"] = list(cuts)
    for _ in range(len(cuts) + 1):  # within one call the library itself tries again, unless nothing came
        try:
            assert get()[0] == ("weights.pt", "fetched")
            break
        except TryAgainError:
            continue
    assert (tmp_path / "space" / "weights.pt").read_bytes() == WEIGHTS


def test_a_killed_fetch_continues_where_it_stopped(get, hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "space" / f"weights.pt.{SHA256[:12]}.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS[:600_000])
    other = part.with_name("weights.pt.000000000000.part")
    other.write_bytes(b"of another commit")
    get()
    assert ("GET", f"cdn/{SHA256}/weights.pt", "bytes=600000-") in hub.asked
    assert (tmp_path / "space" / "weights.pt").read_bytes() == WEIGHTS
    assert not part.exists() and not other.exists()


def test_a_damaged_part_is_not_continued_for_ever(get, tmp_path: Path) -> None:
    part = tmp_path / "space" / f"weights.pt.{SHA256[:12]}.part"
    part.parent.mkdir()
    part.write_bytes(b"\0" * 600_000)
    with pytest.raises(UserError, match=f"came with sha256 .* and {SHA256} is expected"):
        get()
    assert get()[0] == ("weights.pt", "fetched")


def nothing_but_parts(folder: Path) -> bool:
    return all(path.name.endswith(".part") for path in folder.glob("*"))


@pytest.mark.parametrize("file", ["weights.pt", "sub/config.json"])
def test_other_bytes_than_the_hub_announces_are_refused(get, hub: Hub, tmp_path: Path, file: str) -> None:
    content = WEIGHTS if file == "weights.pt" else CONFIG
    hub.served[file] = content[:-1] + b"X"
    with pytest.raises(UserError, match="is expected") as caught:
        get({file: {}})
    assert "HF" in caught.value.hint or "hub" in caught.value.hint
    assert nothing_but_parts(tmp_path / "space")


@pytest.mark.parametrize("expected", [{"sha256": "0" * 64}, {"bytes": 7}])
def test_another_file_than_expected_is_refused_before_it_is_fetched(get, hub: Hub, tmp_path: Path, expected) -> None:
    with pytest.raises(UserError, match="on the hub, and .* expected"):
        get({"weights.pt": expected})
    assert not [asked for asked in hub.asked if asked[1].startswith("cdn")]
    assert nothing_but_parts(tmp_path / "space")


def test_a_file_that_is_there_and_is_another_one_stays(get, tmp_path: Path) -> None:
    target = tmp_path / "space" / "weights.pt"
    target.parent.mkdir()
    target.write_bytes(b"mine")
    for expected in ({"sha256": SHA256}, {"bytes": len(WEIGHTS)}):
        with pytest.raises(UserError, match="is expected|are expected") as caught:
            get({"weights.pt": expected})
        assert "move it away" in caught.value.hint
    assert target.read_bytes() == b"mine"
    assert get({"weights.pt": {}}) == [("weights.pt", "there")]
    assert get({"sub/config.json": {}}) == [("config.json", "fetched")]
    (tmp_path / "space" / "config.json").write_bytes(b"changed since")
    with pytest.raises(UserError, match="is expected"):
        get({"sub/config.json": {}})


def test_a_branch_that_moves_between_two_files_is_noticed(get, hub: Hub) -> None:
    get({"weights.pt": {}}, revision="main")
    hub.add(NAME, {"weights.pt": WEIGHTS, "sub/config.json": b"{}"}, commit="b" * 40)
    with pytest.raises(UserError, match=f"main of {NAME} has moved: it was {COMMIT} .* is {'b' * 40} now") as caught:
        get(revision="main")
    assert f"revision: {COMMIT}" in caught.value.hint
    assert get(revision=COMMIT) == [("weights.pt", "there"), ("config.json", "fetched")]


def test_a_mirror_that_ignores_commits_is_noticed(get, hub: Hub) -> None:
    hub.add(NAME, {"weights.pt": WEIGHTS}, commit="b" * 40)
    hub.repositories[NAME].branches[COMMIT] = "b" * 40
    with pytest.raises(UserError, match="does not distinguish commits|answers with b{40}"):
        get({"weights.pt": {}})


@pytest.mark.parametrize("when", ["before", "while it is written"])
def test_a_full_disk(get, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    import huggingface_hub.file_download as library

    real = library.http_get
    if when == "before":
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    else:

        def write_some(url: str, file, **options: object) -> None:
            file.write(WEIGHTS[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(library, "http_get", write_some)
    with pytest.raises(TryAgainError, match=r"weights\.pt of owner/model needs 1\.0 MB, and .* has room for") as caught:
        get()
    assert caught.value.exit_code == 75
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library, "http_get", real)
    get()
    assert (tmp_path / "space" / "weights.pt").read_bytes() == WEIGHTS
    if when != "before":
        assert ("GET", f"cdn/{SHA256}/weights.pt", "bytes=1000-") in hub.asked


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_a_gated_repository_says_what_to_do_and_where(get, hub: Hub, monkeypatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.add("owner/gated", {"weights.pt": WEIGHTS}, gated=True)
    with pytest.raises(UserError, match=r"weights\.pt of owner/gated is gated") as caught:
        get({"weights.pt": {}}, repository="owner/gated")
    assert "fill in the form" in caught.value.hint and "hf auth login" in caught.value.hint
    assert hub.url in caught.value.hint
    monkeypatch.setenv("HF_TOKEN", "hf_let_me_in")
    assert get({"weights.pt": {}}, repository="owner/gated") == [("weights.pt", "fetched")]


@pytest.mark.parametrize(
    ("settings", "file", "message"),
    [
        ({"repository": "nobody/nothing"}, "weights.pt", "does not exist, or is private"),
        ({}, "gone.pt", r"gone\.pt of owner/model does not exist"),
        ({"revision": "c" * 40}, "weights.pt", "no such revision"),
        ({"kind": "dataset"}, "weights.pt", "does not exist, or is private"),
    ],
)
def test_what_is_not_there_is_said(get, settings: dict[str, object], file: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        get({file: {}}, **settings)
    assert caught.value.hint


def test_an_optional_file_may_be_absent_and_a_data_set_has_its_own_place(get, hub: Hub) -> None:
    hub.add("datasets/owner/set", {"test/0.tar": b"tar"})
    files = {"test/0.tar": {}, "README.md": {"optional": True}}
    assert get(files, repository="owner/set", kind="dataset") == [("0.tar", "fetched"), ("README.md", "absent")]


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_it_says_so(get, hub: Hub, tmp_path: Path, monkeypatch, offline: bool) -> None:
    get({"sub/config.json": {}})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    hub.url = "http://127.0.0.1:9"  # nobody listens
    assert get({"sub/config.json": {}}) == [("config.json", "there")]
    expected: type[McrError] = UserError if offline else TryAgainError
    with pytest.raises(expected, match="HF_HUB_OFFLINE is set" if offline else "cannot be reached"):
        get()


@pytest.mark.parametrize(
    ("endpoint", "file", "said"),
    [
        ("hub.example.org", "sub/config.json", "HF_ENDPOINT is hub.example.org, which is not an address"),
        ("ftp://hub", "sub/config.json", "HF_ENDPOINT is ftp://hub, which is not an address"),
    ],
)
def test_what_no_other_try_mends_is_the_users_to_correct(get, hub: Hub, endpoint: str, file: str, said: str) -> None:
    hub.url = endpoint or hub.url
    with pytest.raises(UserError, match=said) as caught:
        get({file: {}})
    assert caught.value.hint


@pytest.mark.parametrize("status", [400, 413, 422, 408, 409, 412, 423, 425, 429, 507])
def test_the_hub_says_why_and_another_try_helps_or_not(get, hub: Hub, status: int) -> None:
    hub.refused = status, "A commit has happened since."
    passing = status >= 500 or status in (408, 409, 412, 423, 425, 429)
    with pytest.raises(
        TryAgainError if passing else UserError, match=f"answers {status} A commit has happened since.$"
    ):
        get()


@pytest.mark.parametrize("offline", [True, False])
def test_what_is_cached_loads_whatever_the_address_of_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch, offline: bool
) -> None:
    folder = tmp_path / "models--owner--model" / "snapshots" / COMMIT  # as huggingface_hub lays out its cache
    make_clip(folder)
    for name, value in (("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", offline), ("ENDPOINT", "hub.example.org")):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    assert load_space(SpaceSpec("transformers", f"hf-hub:{NAME}@{COMMIT}")).dimension == 24
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set" if offline else "which is not an address"):
        load_space(SpaceSpec("transformers", f"hf-hub:owner/other@{COMMIT}"))


def test_a_damaged_record_is_not_trusted(get, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text("{")
    with pytest.raises(CorruptError, match="is damaged"):
        get()


def test_a_git_blob_is_named_as_git_names_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    named = subprocess.run(["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=True).stdout
    assert git_blob(tmp_path / "a") == named.strip()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.pt": {"bytes": 605_143_284}}, "605.1 MB"),
        ({"a.pt": {"bytes": 605_143_284}, "config.json": {}}, "about 605.1 MB"),
        ({"a.pt": {"about": 1_860_000_000}, "x/b.pt": {}}, "about 1.9 GB and b.pt of unknown size"),
        ({"x/b.pt": {}}, "b.pt of unknown size"),
        ({"config.json": {}}, "a few small files"),
    ],
)
def test_what_a_part_costs_is_said_as_far_as_it_is_known(files: dict[str, object], said: str) -> None:
    entry = {"repository": "o/n", "revision": "main", "licence": "x", "to": "d", "files": files}
    assert total_size([FetchedRepository.model_validate(entry)]) == said


def test_files_of_one_path_in_two_repositories_both_count():
    entries = [
        FetchedRepository(
            repository=f"some/{name}", revision="main", licence="x", to=name, files={"test/0.tar": {"bytes": size}}
        )
        for name, size in (("coco", 3_000_000), ("flickr", 4_000_000))
    ]
    assert total_size(entries) == "7.0 MB"


def test_two_files_of_one_name_need_two_folders() -> None:
    with pytest.raises(ValueError, match="0.tar would be written twice"):
        FetchedRepository(
            repository="o/n", revision="main", licence="x", to="d", files={"test/0.tar": {}, "train/0.tar": {}}
        )


@pytest.fixture
def made(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in make_clip(tmp_path / "made").iterdir()}


def run(folder: Path, hub: Hub, *command: str, offline: bool = False) -> str:
    """Run Python with `command` in `folder` with `hub` as the mirror; what it prints."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HOME": str(folder / "home"),
        "HF_ENDPOINT": hub.url,
    }
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_goes_to_the_mirror_and_the_space_then_loads_offline(
    tmp_path: Path, made: dict[str, bytes]
) -> None:
    params = dict(read_raw(ROOT / "presets" / "cmcr-audio-image.yaml"))
    entry = {"repository": NAME, "revision": COMMIT, "licence": "mit", "to": "data/spaces/clip", "access": "open"}
    params["fetch"] = {"clip": [entry | {"files": {name: {} for name in made}}]}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    with serve() as served:
        served.add(NAME, made)
        said = run(tmp_path, served, "-m", "stages.cli", "fetch", "clip")
    assert re.search(r"clip: owner/model@a{12} -> data/spaces/clip\n .* licence: mit", said)
    assert load_space(SpaceSpec("transformers", str(tmp_path / "data" / "spaces" / "clip"))).dimension == 24


@pytest.mark.slow  # 15 s
def test_a_hub_name_is_fetched_once_and_then_found_offline(tmp_path: Path, made: dict[str, bytes]) -> None:
    code = (
        "from pipeline.spaces import SpaceSpec, load_space\n"
        f"s = load_space(SpaceSpec('transformers', 'hf-hub:{NAME}@{COMMIT}'))\n"
        "print(s.fingerprint('text')['sha256'])"
    )
    with serve() as served:
        served.add(NAME, made | {"pytorch_model.bin": WEIGHTS})
        online = run(tmp_path, served, "-c", code)
        assert not [path for _, path, _ in served.asked if "pytorch_model.bin" in path]
        asked = len(served.asked)
        assert run(tmp_path, served, "-c", code, offline=True) == online
        assert len(served.asked) == asked
