"""Manifests, configurations and records: each byte that is changed is either found or changes nothing that they say."""

import json
import random
import shutil
from pathlib import Path

import pytest

from pipeline.connect.config import load_config
from pipeline.errors import CorruptError, UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.store import load_manifest
from pipeline.store.integrity.made_from import read_made_from, write_made_from
from pipeline.store.parts.prune import own_files
from tests.store.parts.build_folder import build

GOLDEN = Path(__file__).parents[1] / "golden"


def store(folder: Path) -> Path:
    build(folder, 1)
    return folder / "_manifest.json"


def model(folder: Path) -> Path:
    config = load_config(GOLDEN / "data/models/audio_image")
    folder.mkdir()
    config.save(folder)
    return folder / "config.json"


def record(folder: Path) -> Path:
    folder.mkdir()
    (folder / "metrics.parquet").write_bytes(b"rows")
    write_made_from(folder, [], {}, ["metrics.parquet"])
    return folder / "_made_from.json"


FILES = {
    "manifest": (store, lambda path: load_manifest(path.parent)),
    "configuration": (model, lambda path: load_config(path.parent)),
    "record": (record, lambda path: read_made_from(path.parent)),
}


@pytest.mark.parametrize("kind", FILES)
def test_no_changed_byte_is_taken_for_what_was_written(kind, tmp_path):
    make, read = FILES[kind]
    path = make(tmp_path / "here")
    whole, said = path.read_bytes(), read(path)
    draw = random.Random(0)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(7)]) + whole[place + 1 :])
        try:
            found = read(path)
        except (CorruptError, UserError) as error:
            named = error.message
        else:
            named = path.name if found == said else ""
        assert path.name in named or path.parent.name in named, f"byte {place}"


@pytest.mark.parametrize("kind", FILES)
def test_no_missing_bytes_are_overlooked(kind, tmp_path):
    make, read = FILES[kind]
    path = make(tmp_path / "here")
    whole, said = path.read_bytes(), read(path)
    for place in range(len(whole)):
        for count in (1, 7, 20, 63):
            path.write_bytes(whole[:place] + whole[place + count :])
            try:
                assert read(path) == said, f"{count} bytes from {place}"
            except (CorruptError, UserError):
                continue


def test_the_order_of_what_is_listed_is_part_of_it(tmp_path):
    path = tmp_path / "one.json"
    write_sealed(path, {"spaces": {"clip": 1, "clap": 2}})
    swapped = json.loads(path.read_text())
    swapped["spaces"] = {"clap": 2, "clip": 1}
    path.write_text(json.dumps(swapped))
    with pytest.raises(ValueError, match="checksum"):
        read_sealed(path)


def test_files_of_earlier_versions_have_no_seal_and_are_read():
    assert "checksum" not in (GOLDEN / "data/models/audio_image/config.json").read_text()
    assert load_config(GOLDEN / "data/models/audio_image").connection == "audio_image"
    assert load_manifest(GOLDEN / "data/shards/photos").complete


def test_a_configuration_that_says_the_same_is_not_written_again(tmp_path):
    shutil.copy(GOLDEN / "data/models/audio_image/config.json", tmp_path)
    config = load_config(tmp_path)
    config.save(tmp_path)
    whole = (tmp_path / "config.json").read_bytes()
    config.save(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == whole
    config.model_copy(update={"seed": 7}).save(tmp_path)
    assert load_config(tmp_path).seed == 7


def test_what_a_damaged_manifest_lists_is_made_again_and_removed_by_nobody(tmp_path, caplog):
    path = store(tmp_path / "here")
    foreign = path.with_name("00009.tar")
    foreign.write_bytes(b"of the user")
    path.write_text(path.read_text().replace('"00001.tar"', '"00009.tar"'))
    assert own_files(path.parent) == set(), "a pruned folder keeps what nobody vouches for"
    assert build(path.parent, 1) == 3 and "All its contents are rebuilt" in caplog.text
    assert foreign.read_bytes() == b"of the user"
