"""A connection of a base and leaves in params.yaml: what it means, and its mistakes named by their paths."""

import copy
from pathlib import Path

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.params.load import load_params
from stages.evaluate import connection_data
from stages.retrieve import pair_plans
from tests.params.test_load import DEMO, problems

UNIFIED = yaml.safe_load("""
method: exmcr
join:
  base: clip
  leaves:
    clap:
      overlap: text
      queries: [captions]
      memories: {clip: {modality: image, corpora: [photos]}, clap: {modality: audio, corpora: [sounds]}}
    ulip:
      overlap: image
      queries: [photos]
      memories: {clip: {modality: text, corpora: [captions]}, ulip: {modality: point, corpora: [shapes]}}
      retrieve: {sets: [leaf]}
      train: {epochs: 24, projector: {init: eye}}
retrieve: {temperature: 0.02}
train: {epochs: 36, batch_size: 64, projector: {hidden: 96}}
""")


def params_with(unified: dict) -> dict:
    raw = copy.deepcopy(DEMO)
    raw["encode"].setdefault("ulip-photos", {"space": "ulip", "corpus": "photos"})
    raw["connections"]["unified"] = copy.deepcopy(unified)
    return raw


def load(tmp_path: Path, unified: dict):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params_with(unified), sort_keys=False))
    return load_params(tmp_path / "params.yaml")


def test_a_leaf_changes_what_it_names_and_keeps_the_rest(tmp_path):
    unified = load(tmp_path, UNIFIED).connections["unified"]
    assert unified.join.spaces == ("clip", "clap", "ulip")
    clap, ulip = unified.train_of("clap"), unified.train_of("ulip")
    assert (clap.epochs, clap.batch_size, clap.projector.hidden, clap.projector.init) == (36, 64, 96, "xavier")
    assert (ulip.epochs, ulip.batch_size, ulip.projector.hidden, ulip.projector.init) == (24, 64, 96, "eye")
    assert clap.temperature == 0.05
    assert unified.retrieve_of("clap").sets == ("overlap", "leaf", "base")
    assert (unified.retrieve_of("ulip").sets, unified.retrieve_of("ulip").temperature) == (("leaf",), 0.02)


def test_the_plans_of_a_connection_are_its_leaves_and_sets(tmp_path):
    params = load(tmp_path, UNIFIED)
    plans = pair_plans("unified", params.connections["unified"], 5)
    assert list(plans) == [*(f"unified/clap/{centre}" for centre in ("overlap", "leaf", "base")), "unified/ulip/leaf"]
    plan = plans["unified/ulip/leaf"]
    assert (plan.connection, plan.method, plan.spaces, plan.centre) == (
        "unified/ulip",
        "exmcr",
        ("clip", "ulip"),
        "leaf",
    )
    assert plan.overlap_column("ulip") == "ulip_image" and plan.memory_column("clip") == "clip_text"
    assert plan.queries["ulip"] == (Path("data/embeddings/ulip/photos/image"),)
    assert list(pair_plans("audio_image", params.connections["audio_image"], 5)) == ["audio_image"]
    data = connection_data(params.connections["unified"])
    assert data.leaves["ulip"].pairs == "leaf"
    assert data.leaves["clap"].memories["clap"].corpora == ("sounds",)


MISTAKES = [
    ("join.base", "clib", "did you mean 'clip'?"),
    ("method", "exmcrr", "did you mean 'exmcr'?"),
    ("join.leaves", {}, "at least 1"),
    ("join.leaves.clap.overlap", None, "needs `overlap`"),
    ("join.leaves.clap.overlap", "tekst", "did you mean 'text'?"),
    ("join.leaves.clap.overlap", "audio", "is the overlapping modality"),
    ("join.leaves.clap.queries", ["caption"], "did you mean 'captions'?"),
    ("join.leaves.clap.queries", ["photos"], "holds image, not text"),
    ("join.leaves.clap.memories.clap.corpora", ["pairs"], None),
    ("join.leaves.clap.memories.clap.corpora", ["shapes"], "holds point, not audio"),
    (
        "join.leaves.clap.memories",
        {"clip": {"modality": "image", "corpora": ["photos"]}},
        "one entry for each of clip, clap",
    ),
    ("join.leaves.clap.train", {"epoch": 3}, "did you mean 'epochs'?"),
    ("join.leaves.clap.trian", {}, "did you mean 'train'?"),
    ("join.leaves.clap.retrieve", {"sets": []}, "at least 1"),
    ("join.leaves.clap.retrieve", {"control": "random_partners"}, "shuffled_overlap"),
    ("retrieve.sets", ["leafs"], "did you mean 'leaf'?"),
    ("train.temperatur", 0.1, "did you mean 'temperature'?"),
    ("train.temperature_overlap", 0.1, "did you mean 'temperature'?"),
    ("train.terms", ["overlap_overlap", "leaf"], "'leaf_base'"),
    ("train.projector.dimension", 3, "no such setting"),
    ("spaces", ["clip"], "no such setting"),
]


@pytest.mark.parametrize(("where", "value", "hint"), MISTAKES, ids=[f"{w}={v}" for w, v, _ in MISTAKES])
def test_a_mistake_is_named_with_its_path(tmp_path, where, value, hint):
    unified = copy.deepcopy(UNIFIED)
    *parents, name = where.split(".")
    target = unified
    for parent in parents:
        target = target[parent]
    target[name] = value
    if hint is None:
        assert load(tmp_path, unified)
        return
    message = problems(tmp_path, params_with(unified))
    assert hint in message
    assert f"connections.unified.{where}".removesuffix(".overlap") in message or "memories" in message


def test_leaves_must_be_spaces_other_than_the_base_and_jobs_must_exist(tmp_path):
    raw = params_with(UNIFIED)
    raw["connections"]["unified"]["join"]["leaves"] = {
        "clab": UNIFIED["join"]["leaves"]["clap"],
        "clip": UNIFIED["join"]["leaves"]["clap"],
    }
    del raw["encode"]["ulip-photos"]
    message = problems(tmp_path, raw)
    assert "connections.unified.join.leaves.clab = 'clab': there is no such space; did you mean 'clap'?" in message
    assert "connections.unified.join.leaves.clip: is the base itself" in message
    raw["connections"]["unified"]["join"]["leaves"] = UNIFIED["join"]["leaves"]
    assert "ulip-photos: {space: ulip, corpus: photos}" in problems(tmp_path, raw)


def test_a_method_must_be_named(tmp_path):
    raw = params_with({key: value for key, value in UNIFIED.items() if key != "method"})
    assert "connections.unified.method: is required" in problems(tmp_path, raw)
    with pytest.raises(UserError):
        load(tmp_path, {})
