"""What a corpus reads, without reading it."""

import os

import fsspec
import pandas as pd
import pytest

from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.listing import ABSENT, listed_files
from tests.shard.makers import picture, tar


def listed(source, *modalities: str, **more: str):
    return {
        entry.name: entry for entry in listed_files(CorpusSettings(source=str(source), modalities=modalities, **more))
    }


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "im"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "notes.md"):
        (folder / name).write_bytes(picture(len(name)))
    return folder


def test_a_folder_is_all_its_files_with_size_and_time(pictures):
    found = listed(pictures, "image")
    assert set(found) == {f"{pictures}/{name}" for name in ("a.png", "sub/b.png", "notes.md")}
    for path, entry in found.items():
        status = os.stat(path)
        assert (entry.size, entry.changed) == (status.st_size, str(status.st_mtime_ns))


def test_a_manifest_is_itself_and_the_files_that_it_names(pictures, tmp_path):
    (tmp_path / "lists").mkdir()
    source = tmp_path / "lists" / "m.csv"
    source.write_text("key,path\na,a.png\ngone,none.png\n")
    found = listed(source, "image", files="../im")
    assert {os.path.normpath(path): entry.size for path, entry in found.items()} == {
        str(source): source.stat().st_size,
        str(pictures / "a.png"): (pictures / "a.png").stat().st_size,
        str(pictures / "none.png"): ABSENT,
    }
    before = listed(source, "image", files="../im")
    (pictures / "a.png").write_bytes(picture(77, side=(9, 9)))
    assert listed(source, "image", files="../im") != before


def test_patterns_braces_and_folders_that_a_pattern_matches(pictures, tmp_path):
    for name in ("x0.tar", "x1.tar", "y.tar"):
        tar(tmp_path / name, [(f"{name[:2]}.png", picture(1))])
    assert set(listed(f"{tmp_path}/x*.tar", "image")) == {f"{tmp_path}/x0.tar", f"{tmp_path}/x1.tar"}
    assert set(listed(f"{tmp_path}/{{x1,y}}.tar", "image")) == {f"{tmp_path}/x1.tar", f"{tmp_path}/y.tar"}
    assert set(listed(f"{tmp_path}/i?", "image")) == set(listed(pictures, "image"))
    assert {entry.size for entry in listed(f"{tmp_path}/x{{0..2}}.tar", "image").values()} == {10240, ABSENT}


def test_addresses_too(tmp_path):
    filesystem = fsspec.filesystem("memory")
    for number in range(30):
        filesystem.pipe(f"/listing/p{number:02d}.png", picture(number))
    table = pd.DataFrame({"path": [f"p{number:02d}.png" for number in range(31)]})
    filesystem.pipe("/listing/m.csv", table.to_csv(index=False).encode())
    found = listed("memory://listing", "image", kind="folder")
    assert len(found) == 31 and found["memory://listing/p07.png"].size == len(picture(7))
    assert found["memory://listing/p07.png"].changed
    named = listed("memory://listing/m.csv", "image")
    assert named["memory://listing/p30.png"].size == ABSENT  # named, and not there
    assert named["memory://listing/p07.png"] == found["memory://listing/p07.png"]
    filesystem.rm("/listing", recursive=True)
