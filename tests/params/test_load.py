"""params.yaml: every mistake is found before any work, named by its dotted path."""

import copy
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from pipeline.errors import UserError
from pipeline.params.load import load_params
from pipeline.params.model import Params

ROOT = Path(__file__).parents[2]
DEMO = yaml.safe_load((ROOT / "params.yaml").read_text())


def problems(tmp_path: Path, raw: object) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw))
    with pytest.raises(UserError) as error:
        load_params(path)
    return error.value.message


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "params.yaml",
        *sorted((ROOT / "presets").glob("*.yaml")),
        *sorted((ROOT / "presets").glob("tables/*.yaml")),
    ],
    ids=lambda p: p.name,
)
def test_every_shipped_file_is_valid(path):
    params = load_params(path)
    assert params.connections or path.stem == "frozen", "nothing is trained there"


MISTAKES = [
    ("connections.audio_image.train.noize_variance", 0.1, "did you mean 'noise_variance'?"),
    ("connections.audio_image.train.epochs", 0, "greater than or equal to 1"),
    ("connections.audio_image.train.learning_rate", "fast", "valid number"),
    ("connections.audio_image.train.noise_variance", float("nan"), "finite number"),
    ("connections.audio_image.retrieve.temperature", -0.01, "greater than or equal to 0.0000001"),
    ("connections.audio_image.retrieve.temperature", 1e-45, "greater than or equal to 0.0000001"),
    ("connections.audio_image.train.temperature_pseudo", 0.0, "greater than or equal to 0.0000001"),
    ("evaluate.tasks.audio_image.hub_temperature", 1e-300, "greater than or equal to 0.0000001"),
    ("evaluate.bootstrap", 1, "evaluate.bootstrap = 1: so few draws make no interval; use 20 or more, or 0"),
    ("run.processes", 10_000, "run.processes = 10000: input should be less than or equal to 1024"),
    ("run.ranks", 10_000, "run.ranks = 10000: input should be less than or equal to 1024"),
    ("connections.audio_image.retrieve.search", "flatt", "did you mean 'flat'?"),
    ("connections.audio_image.method", "cmrc", "did you mean 'cmcr'?"),
    ("connections.audio_image.join.overlap", "tekst", "did you mean 'text'?"),
    ("connections.audio_image.join.spaces", ["clip", "clab"], "did you mean 'clap'?"),
    ("connections.audio_image.join.queries", ["caption"], "did you mean 'captions'?"),
    ("connections.audio_image.join.queries", ["photos"], "holds image, not text"),
    ("connections.audio_image.join.memories.clap.corpora", ["shapes"], "holds point, not audio"),
    ("connections.coupled.train.intra_weight", 0.1, "no such setting of method coupling, only of cmcr, exmcr"),
    ("connections.coupled.retrieve.temperature", 0.01, "no such setting of method coupling, only of cmcr, exmcr"),
    ("connections.coupled.retrieve.profile", {"temperature": 0.1, "perplexity": 3.0}, "either a temperature or"),
    ("connections.audio_image.retrieve.draws", 8, "no such setting"),
    ("encode.clip-photos.space", "clib", "did you mean 'clip'?"),
    ("encode.clip-photos.corpus", "fotos", "did you mean 'photos'?"),
    ("encode.clip-photos.space", "CLIP", "did you mean 'clip'?"),
    ("spaces.clip.Batch_Size", 3, "did you mean 'batch_size'?"),
    ("connections.audio_image.method", "CMCR", "did you mean 'cmcr'?"),
    ("corpora.photos.modalities", ["IMAGE"], "did you mean 'image'?"),
    ("spaces.clip.precision", "fp8", "'fp32'"),
    ("spaces.clip.batchsize", 3, "did you mean 'batch_size'?"),
    ("corpora.photos.modalities", ["images"], "did you mean 'image'?"),
    (
        "spaces.clip.batch_size",
        "autoo",
        "clip.batch_size = 'autoo': input should be 'auto' or a whole number; did you mean 'auto'?",
    ),
    ("spaces.clip.batch_size", "32 samples", "= '32 samples': input should be 'auto' or a whole number"),
    ("run.devices", 0, "run.devices = 0: input should be 'auto' or 'cpu' or a list such as [0, 1]"),
    ("run.memory", "all", "run.memory = 'all': input should be 'auto' or a number"),
    ("spaces.clip.batch_size", 0, "clip.batch_size = 0: input should be greater than or equal to 1, or 'auto'"),
    ("connections.coupled.keep", {"weight": 1.5}, "connections.coupled.keep.weight = 1.5: input should be less than 1"),
    ("threads", 10_000, "threads = 10000: input should be less than or equal to 1024"),
    ("run.workers", 10_000, "run.workers = 10000: input should be less than or equal to 1024"),
    ("run.devices", [-1], "has 1 problem(s):\n  run.devices.0 = -1: input should be greater"),
    ("corpora.photos.modalities", [], "is empty"),
    ("corpora.photos.modalities", "image", "is not a list; write [image]"),
    ("connections.audio_image.join.queries", "captions", "is not a list; write [captions]"),
    ("connections.audio_image.join.spaces", {"a": "clip"}, "is not a list; write [first, second]"),
    ("spaces", [{"name": "clip"}], "is not a mapping; write `name: value`"),
    ("spaces.clip", "compact", "is not a mapping; write `name: value`"),
    ("connections.audio_image.train", None, "is not a mapping; write `name: value`"),
    ("encode", None, "is not a mapping; write `name: value`"),
    ("limits.max_rejected", 3, "less than or equal to 1"),
    ("evaluate.tasks.audio_image.corpus", "held", "did you mean 'heldout'?"),
    ("evaluate.tasks.audio_image.connections", ["audio_imag"], "did you mean 'audio_image'?"),
    ("evaluate.tasks.audio_image.tusk", "retrieval", "did you mean 'task'?"),
    ("evaluate.tasks.audio_image.baselines", "oracle", "no overlapping modality, and the task compares"),
    ("evaluate.tasks.audio_image.baselines", "point_text", "and the task compares audio and image"),
    ("sead", 1, "did you mean 'seed'?"),
    ("run.device", "gpu", "'cuda'"),
    ("run.device", "CUDA", "did you mean 'cuda'?"),
]


@pytest.mark.parametrize(("where", "value", "hint"), MISTAKES, ids=[f"{w}={v}" for w, v, _ in MISTAKES])
def test_a_mistake_is_named_with_its_path_and_the_nearest_name(tmp_path, where, value, hint):
    raw = copy.deepcopy(DEMO)
    *parents, name = where.split(".")
    target = raw
    for parent in parents:
        target = target[parent]
    target[name] = value
    message = problems(tmp_path, raw)
    assert where in message
    assert hint in message
    assert "constrained" not in message and "[" not in message.split(" = ")[0], (
        "types of pydantic are no part of a path"
    )


def test_all_mistakes_are_listed_at_once(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["sead"] = 1
    raw["encode"]["clip-photos"]["space"] = "clib"
    raw["connections"]["oracle"]["train"]["epochs"] = -1
    message = problems(tmp_path, raw)
    assert all(name in message for name in ("sead", "clib", "connections.oracle.train.epochs"))


def test_a_hash_in_capitals_is_the_same_hash(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["spaces"]["clip"]["sha256"] = "AB" * 32
    entry = {
        "repository": "o/n",
        "revision": "main",
        "licence": "x",
        "to": "data/d",
        "files": {"w.pt": {"sha256": "CD" * 32}},
    }
    raw["fetch"] = {"clip": [entry]}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    params = load_params(path)
    for kind, digest in (("SpaceSettings", "AB" * 32), ("FetchedFile", "CD" * 32)):
        pattern = Params.model_json_schema()["$defs"][kind]["properties"]["sha256"]["pattern"]
        assert re.match(pattern, digest), "nor does an editor underline it"
    assert params.spaces["clip"].sha256 == "ab" * 32 and params.fetch["clip"][0].files["w.pt"].sha256 == "cd" * 32


def test_a_misspelt_name_of_a_method_is_named(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["connections"]["audio_image"]["methd"] = raw["connections"]["audio_image"].pop("method")
    message = problems(tmp_path, raw)
    assert "connections.audio_image.method: is required; 'methd' is not a setting, did you mean 'method'?" in message


def test_a_list_is_not_too_short_for_what_is_wrong_in_it(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["corpora"]["photos"]["modalities"] = ["images"]
    assert "at least" not in problems(tmp_path, raw)


def test_a_missing_job_is_spelt_out(tmp_path):
    raw = copy.deepcopy(DEMO)
    del raw["encode"]["clap-sounds"]
    assert "clap-sounds: {space: clap, corpus: sounds}" in problems(tmp_path, raw)


def test_duplicate_yaml_keys_are_refused(tmp_path):
    assert "'seed' occurs twice" in problems(tmp_path, "seed: 1\nthreads: 2\nseed: 3\n")


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "a: !!python/object/apply:os.system [ls]"])
def test_files_that_are_no_params_are_one_clear_error(tmp_path, content):
    assert str(tmp_path) in problems(tmp_path, content)


def test_params_cannot_be_changed():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 3


def test_the_schema_for_editors_is_up_to_date():
    schema = json.loads((ROOT / "presets" / "params.schema.json").read_text())
    assert schema == Params.model_json_schema(), "run `mcr schema > presets/params.schema.json`"


def test_no_pydantic_is_permitted_that_writes_down_settings_which_earlier_versions_did_not_know():
    """`exclude_if` is of 2.12; 2.11 takes it for a part of the schema, and what was trained before would be stale."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [pydantic] = [one for one in map(Requirement, project["dependencies"]) if one.name == "pydantic"]
    assert "2.12.0" in pydantic.specifier and "2.11.10" not in pydantic.specifier
