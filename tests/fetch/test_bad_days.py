"""What stands where a file is to be fetched to, odd answers of a server, and recipes of strangers."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import CorruptError, TryAgainError, UserError
from pipeline.fetch.download import OURS, PART, _called
from pipeline.fetch.record import Record
from pipeline.fetch.run import fetch, wanted_files
from pipeline.fetch.settings import FetchedRepository
from pipeline.params.load import load_params
from tests.fetch.hub import Hub, serve

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's own retries
    with serve() as served:
        served.add("me/m", {"a.pt": CONTENT})
        yield served


@pytest.fixture
def get(hub: Hub, tmp_path: Path) -> Callable[..., list[str]]:
    def run(repository: str = "me/m") -> list[str]:
        entry = {"repository": repository, "revision": "main", "licence": "mit", "to": str(tmp_path / "to")}
        wanted = wanted_files([FetchedRepository.model_validate(entry | {"files": {"a.pt": {}}})])
        return [how for _, _, how in fetch(wanted, Record(tmp_path / "fetched.json"), endpoint=hub.url)]

    return run


def test_a_link_that_leads_nowhere_stays(get, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a.pt").symlink_to(tmp_path / "disk/a.pt")
    with pytest.raises(UserError, match=r"a\.pt is a link to .*disk/a\.pt, which is not there"):
        get()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a.pt").write_bytes(CONTENT)
    assert get() == ["there"] and (tmp_path / "to/a.pt").is_symlink()


@pytest.mark.parametrize("name", ["a.pt.mine.part", "a.pt.part", "a.pt.2024-01-01.part", "a.pt.0123456789abc.part"])
def test_only_parts_of_ours_are_removed(get, tmp_path: Path, name: str) -> None:
    (tmp_path / "to").mkdir()
    for each in (name, "a.pt.0123456789ab.part", "a.pt.unnamed.part"):
        (tmp_path / "to" / each).write_bytes(b"x")
    assert get() == ["fetched"]
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"a.pt", name}


def test_parts_of_two_contents_are_not_mixed_up() -> None:
    """A mirror's ETag need not be a hash; where nothing else names the content, a mixture would pass for the file."""
    called = [
        _called(etag) for etag in ("", "a" * 64, "b" * 40, "d41d8cd98f00b204-5", "d41d8cd98f00b204-6", "v1", "v2")
    ]
    assert len({*called}) == len(called) and all(OURS.fullmatch(f"{each}{PART}") for each in called)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirection_that_leads_nowhere_is_told(get, hub: Hub, status: int) -> None:
    hub.refused = status, ""
    with pytest.raises(UserError, match="answers as no hub does"):
        get()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_in_trouble_is_named_by_its_answer(get, hub: Hub, status: int) -> None:
    hub.refused = status, ""
    with pytest.raises(TryAgainError, match=f"answers {status}"):
        get()


@pytest.mark.parametrize("repository", ["../x", "me/a--b", "me/x.git", "me/-x"])
def test_a_name_that_no_repository_has_is_told(get, repository: str) -> None:
    with pytest.raises(UserError, match="cannot be on the hub"):
        get(repository)


@pytest.mark.parametrize("content", ["[]", "null", "1", '{"a": 1}', '{"a": {}}', '"x"'])
def test_a_record_of_another_kind_is_damaged_in_one_line(get, tmp_path: Path, content: str) -> None:
    (tmp_path / "fetched.json").write_text(content)
    with pytest.raises(CorruptError, match="is damaged") as error:
        get()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["", ".", "..", "/etc/x", "../x", "a/../../x", "a//b", "a/"])
def test_a_path_that_is_none_in_a_repository_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is not the path of a file in a repository"):
        FetchedRepository(repository="o/n", revision="main", licence="x", to="d", files={path: {}})


@pytest.mark.parametrize("to", ["plugins", ".", "..", "data/../plugins", "/tmp/x", "~/x", ".git/hooks", "database"])
def test_a_recipe_of_a_stranger_cannot_bring_code(small_project: Path, to: str) -> None:
    entry = f"fetch: {{x: [{{repository: o/n, revision: main, licence: x, to: '{to}', files: {{a.py: {{}}}}}}]}}\n"
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text + entry)
    with pytest.raises(UserError, match=r"fetch\.\w+\.0 = .*`to` is .* not below data/"):
        load_params(Path("params.yaml"))
    Path("params.yaml").write_text(text + entry.replace(f"'{to}'", "data/spaces/x"))
    load_params(Path("params.yaml"))


def test_a_file_that_nothing_is_known_of_is_not_called_the_right_one(small_project: Path) -> None:
    entry = (
        "fetch: {x: [{repository: o/n, revision: main, licence: x, to: data/spaces/clip, files: {config.json: {}}}]}\n"
    )
    with Path("params.yaml").open("a") as file:
        file.write(entry)
    command = [sys.executable, "-m", "stages.cli", "fetch"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "not compared: it was not fetched" in done.stdout, done.stderr
