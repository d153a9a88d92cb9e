"""A connection of a base and leaves in params.yaml: what it means, and its mistakes named by their paths."""

import copy
from pathlib import Path

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.params.load import load_params
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
    clap, ulip = (unified.train_of(("clip", leaf)) for leaf in ("clap", "ulip"))
    assert (clap.epochs, clap.batch_size, clap.projector.hidden, clap.projector.init) == (36, 64, 96, "xavier")
    assert (ulip.epochs, ulip.batch_size, ulip.projector.hidden, ulip.projector.init) == (24, 64, 96, "eye")
    assert clap.temperature == 0.05
    assert unified.retrieve_of(("clip", "clap")).sets == ("overlap", "leaf", "base")
    changed = unified.retrieve_of(("clip", "ulip"))
    assert (changed.sets, changed.temperature) == (("leaf",), 0.02)


def test_the_links_of_a_connection_are_its_leaves_or_its_two_spaces(tmp_path):
    params = load(tmp_path, UNIFIED)
    clap, ulip = params.connections["unified"].links("unified")
    assert (clap.place, clap.label, clap.sets) == ("unified/clap", "unified/clap", ("overlap", "leaf", "base"))
    assert (ulip.spaces, ulip.base, ulip.projected, ulip.sets) == (("clip", "ulip"), "clip", ("ulip",), ("leaf",))
    assert ulip.overlap_column("ulip") == "ulip_image" and ulip.memory_column("clip") == "clip_text"
    assert ulip.queries == ("photos",) and clap.memories["clap"].corpora == ("sounds",)
    assert clap.corpora_of("clap", "audio") == ("sounds",) and clap.corpora_of("clip", "text") == ("captions",)
    assert clap.corpora_of("ulip", "image") == () == clap.corpora_of("clip", "audio")
    [both] = params.connections["audio_image"].links("audio_image")
    assert (both.place, both.label, both.base) == ("audio_image/clip-clap", "audio_image", "")
    assert both.projected == ("clip", "clap") and both.sets == ("overlap",)
    [oracle] = params.connections["oracle"].links("oracle")
    assert (oracle.overlap, oracle.queries, oracle.sets) == ("", (), ("true",))


@pytest.mark.parametrize("method", ["exmcr", "excoupling"])
def test_every_method_with_a_base_lets_a_leaf_differ(tmp_path, method):
    raw = params_with(UNIFIED)
    unified = raw["connections"]["unified"]
    leaf = unified["join"]["leaves"]["ulip"]
    unified["method"], unified["retrieve"], leaf["retrieve"] = method, {"search": "flat"}, {"top_k": 7}
    if method == "excoupling":
        unified["retrieve"]["partner"], leaf["retrieve"]["partner"] = {"perplexity": 9}, {"temperature": 0.3}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    made = load_params(tmp_path / "params.yaml").connections["unified"]
    clap, ulip = (made.retrieve_of(("clip", leaf)) for leaf in ("clap", "ulip"))
    assert (clap.search, clap.top_k, ulip.search, ulip.top_k) == ("flat", 128, "flat", 7)
    if method == "excoupling":  # Of a temperature and a perplexity one counts: the leaf's takes the other's place.
        assert (clap.partner.perplexity, clap.partner.temperature) == (9, None)
        assert (ulip.partner.perplexity, ulip.partner.temperature) == (None, 0.3)


MISTAKES = [
    ("join.base", "clib", "did you mean 'clip'?"),
    ("method", "exmcrr", "did you mean 'exmcr'?"),
    ("join.leaves", {}, "is empty"),
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
    ("join.leaves.clap.retrieve", {"sets": []}, "is empty"),
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
