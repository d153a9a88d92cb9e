"""Accounts and facts say what the manifests say, and a loss is seen."""

import pytest

from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.report.inputs import Inputs
from pipeline.report.provenance import accounts, flatten, link_facts, space_facts
from tests.report import world


@pytest.fixture
def inputs(tmp_path):
    return Inputs(world.build(tmp_path), world.CONNECTIONS, world.TASKS)


def test_accounts_close(inputs):
    found = {(account.stage, account.name): account for account in accounts(inputs)}
    photos = found["shard", "photos"]
    assert (photos.samples_in, photos.out, photos.rejected) == (13, 12, 1)
    assert photos.reasons == "1 x not a picture"
    assert found["encode", "clip/photos/image"].expected == 12
    assert found["retrieve", "audio_image/clip-clap/overlap"].out == 12
    assert all(account.closes for account in found.values())


def test_samples_lost_between_stages_are_seen(inputs):
    path = inputs.data / "shards" / "photos" / "_manifest.json"
    manifest = read_sealed(path)
    manifest["parts"][0]["rows"] += 5
    write_sealed(path, manifest)
    broken = [account for account in accounts(inputs) if not account.closes]
    assert [(account.stage, account.name, account.expected) for account in broken] == [
        ("encode", "clip/photos/image", 17)
    ]


def test_an_unfinished_stage_does_not_close(inputs):
    path = inputs.data / "pairs" / "audio_image" / "clip-clap" / "overlap" / "_manifest.json"
    write_sealed(path, read_sealed(path) | {"complete": False})
    assert [account.name for account in accounts(inputs) if not account.closes] == ["audio_image/clip-clap/overlap"]


def test_facts_name_checkpoints_seeds_and_settings(inputs):
    spaces = {space.name: space for space in space_facts(inputs)}
    assert spaces["clip"].sha256 == "p" * 64
    assert spaces["clap"].modalities == "text, audio"
    shuffled = inputs.connections["shuffled"]
    facts = link_facts(shuffled, shuffled.parts[0])
    assert facts.facts["negative control"] == "shuffled_overlap"
    assert facts.facts["seed"] == "1"
    assert facts.settings["train.projector.hidden"] == "256"


def test_flatten_keeps_lists_whole():
    assert flatten({"a": {"b": [1, 2]}, "c": "x", "d": None}) == {"a.b": "[1, 2]", "c": "x", "d": "null"}
