"""Joint coupling over two links: the loss against float64, centres, whole runs, and what refuses to hang together."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.connect import ConnectedSpace, ProjectorSpec, build_projector
from pipeline.errors import CorruptError, UserError
from pipeline.links import Link
from pipeline.params.load import check_params
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import Softness, WitnessedRetrieveSettings
from pipeline.store import PAIRS, Store
from pipeline.train.methods import joint
from pipeline.train.methods.joint import JointCoupling
from pipeline.train.run import train_connection
from pipeline.train.settings import JointTrainSettings, LinkTerms, ProjectorSettings
from tests.makers.links import make_link
from tests.makers.walk import parameters
from tests.retrieve import test_pseudo_pairs as stores
from tests.train.methods.test_coupling import info_nce
from tests.train.test_run import KillAt, Killed

WIDTHS = {"clip": 12, "clap": 8, "ulip": 10}
COUNTS = {"image": 40, "audio": 30, "text": 50, "point": 60}
TERMS = {"sound": LinkTerms(), "shape": LinkTerms(weight=0.25, overlap_weight=0.4, temperature_pseudo=0.2)}
SETTINGS = JointTrainSettings(
    projector=ProjectorSettings(hidden=16, dimension=9), epochs=3, batch_size=32, links=TERMS, noise_variance=0.0
)
SOUND = make_link("all").model_copy(update={"name": "sound", "part": True, "sets": ("samples",)})
SHAPE = make_link("all", ("clip", "ulip"), "image", {"clip": "image", "ulip": "point"})
SHAPE = SHAPE.model_copy(update={"name": "shape", "part": True, "sets": ("samples",)})
CORPUS = {"image": "photos", "audio": "sounds", "text": "captions", "point": "shapes"}
HELD = {"clip": ("image", "text"), "clap": ("text", "audio"), "ulip": ("image", "point")}


def keys(modality: str) -> list[str]:
    return [f"{modality[0]}{number:02d}" for number in range(COUNTS[modality])]


def table(space: str, modality: str) -> np.ndarray:
    return np.stack([stores.vector(space, modality, key, 1) for key in keys(modality)]).astype(np.float64)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """The pairs of both links, made by the retrieve stage."""
    for space, width in WIDTHS.items():
        monkeypatch.setitem(stores.WIDTH, space, width)
        for modality in HELD[space]:
            folder = tmp_path / "embeddings" / space / CORPUS[modality] / modality
            facts = {"spec": {"encoder": "compact", "checkpoint": f"{space}.pt"}, "modalities": list(HELD[space])}
            stores.write_store(folder, space, modality, [keys(modality)], 1, facts=facts)
    settings = WitnessedRetrieveSettings(profile=Softness(perplexity=10), partner=Softness(perplexity=5), draws=4)
    for link in (SOUND, SHAPE):
        wanted = PairSet(link, "joint_coupling", settings, 0, tmp_path / "embeddings", "samples")
        stores.run(wanted, tmp_path / "pairs" / link.place / "samples")
    return tmp_path / "pairs"


def opened(pairs: Path) -> list[Store]:
    return [Store.open(pairs / link.place / "samples", PAIRS) for link in (SOUND, SHAPE)]


def train(pairs: Path, output: Path, settings: JointTrainSettings = SETTINGS, links: tuple[Link, ...] = (SOUND, SHAPE)):
    return train_connection([(link, settings) for link in links], "joint_coupling", pairs, output, seed=3)


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.iterdir()) if path.is_file()}


def centred(space: str, modality: str) -> np.ndarray:
    rows = table(space, modality) - table(space, modality).mean(0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("share", "items"), [(1.0, 32), (0.5, 16), (0.01, 2)])
def test_the_loss_is_its_definition_over_centred_samples(pairs, monkeypatch, share, items):
    shape = TERMS["shape"].model_copy(update={"share": share})
    settings = SETTINGS.model_copy(update={"links": {**TERMS, "shape": shape}})
    objective = JointCoupling((SOUND, SHAPE), WIDTHS, settings)
    tables = objective.load(opened(pairs), "cpu")
    assert objective.rows(opened(pairs)) == 2 * COUNTS["point"] and set(tables) == {"sound", "shape"}
    drawn = {}

    def remembered(name, function):
        def call(*arguments):
            drawn.setdefault(name, []).append(function(*arguments))
            return drawn[name][-1]

        monkeypatch.setattr(joint, name, call)

    remembered("draw_pairs", joint.draw_pairs)
    remembered("draw_overlap", joint.draw_overlap)
    heads = {
        space: build_projector(ProjectorSpec(kind="mlp", input=width, hidden=16, dimension=9)).double().train()
        for space, width in WIDTHS.items()
    }
    for number, coupled in enumerate(objective._coupled):
        rows = {name: tuple(t.double() for t in getattr(coupled, name)) for name in ("samples", "overlap")}
        objective._coupled[number] = replace(coupled, **rows)
    batch = {name: items[torch.arange(0, 64, 2)] for name, items in tables.items()}
    terms = objective(heads, batch, torch.Generator().manual_seed(0))
    asked: dict[str, list[np.ndarray]] = {space: [] for space in WIDTHS}
    for (rows, texts), link in zip(
        zip(drawn["draw_pairs"], drawn["draw_overlap"], strict=True), (SOUND, SHAPE), strict=True
    ):
        for space, chosen in zip(link.spaces, rows, strict=True):
            asked[space] += [centred(space, link.overlap)[texts], centred(space, link.memories[space].modality)[chosen]]
    # One pass of each projector over all that it sees in a step: BatchNorm normalises by all links together.
    made = {
        space: torch.split(heads[space](torch.from_numpy(np.concatenate(rows))), [len(each) for each in rows])
        for space, rows in asked.items()
    }
    assert [len(rows) for rows in asked["clip"]] == [32, 32, items, items]
    sound = info_nce(made["clip"][1], made["clap"][1], 0.1) + 0.5 * info_nce(made["clip"][0], made["clap"][0], 0.1)
    shape = info_nce(made["clip"][3], made["ulip"][1], 0.2) + 0.4 * info_nce(made["clip"][2], made["ulip"][0], 0.1)
    assert terms["loss"].item() == pytest.approx((sound + 0.25 * shape).item(), rel=1e-5)


def test_every_table_is_held_once_and_centred_where_it_lies(pairs, monkeypatch):
    """A million rows of three spaces must not be there twice, raw and centred."""
    held: list[torch.Tensor] = []
    load = joint.Coupled.load

    def remembering(*arguments) -> joint.Coupled:
        read = load(*arguments)
        held.extend([*read.samples, *read.overlap])
        return read

    monkeypatch.setattr(joint.Coupled, "load", remembering)
    objective = JointCoupling((SOUND, SHAPE), WIDTHS, SETTINGS)
    objective.load([Store.open(pairs / link.place / "samples", PAIRS) for link in (SOUND, SHAPE)], "cpu")
    used = [rows for tables in objective._coupled for rows in (*tables.samples, *tables.overlap)]
    assert {rows.data_ptr() for rows in used} == {rows.data_ptr() for rows in held}
    assert (
        len({rows.data_ptr() for rows in used}) == 7
    )  # of eight: CLIP's pictures are a memory and what shapes are joined by
    for rows in used:
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


def test_embeddings_enter_the_connected_space_as_they_entered_the_training(pairs, tmp_path):
    train(pairs, tmp_path / "model")
    space = ConnectedSpace.load(tmp_path / "model")
    assert list(space.config.spaces) == ["clip", "clap", "ulip"] and space.dimension == 9
    heads = space._connected._projectors
    for name, modality in (("clip", "image"), ("clip", "text"), ("clap", "audio"), ("ulip", "point")):
        expected = heads[name](torch.from_numpy(centred(name, modality).astype(np.float32)))
        found = space.project(name, table(name, modality).astype(np.float32), modality)
        np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
    with pytest.raises(UserError, match="ulip does not embed 'text'"):
        space.project("ulip", table("ulip", "point").astype(np.float32), "text")
    assert ConnectedSpace.load(tmp_path / "model", keep=0.7).dimension == 9 + sum(WIDTHS.values())
    (tmp_path / "model" / "centres.safetensors").write_bytes(b"?")
    with pytest.raises(CorruptError, match="not the file that was trained"):
        ConnectedSpace.load(tmp_path / "model")


def test_two_runs_give_the_same_bytes_and_a_kill_leaves_no_trace(pairs, tmp_path):
    [result] = train(pairs, tmp_path / "one").values()
    assert (result.pairs, result.epochs, result.computed) == (2 * COUNTS["point"], 3, 3)
    before = files(tmp_path / "one")
    assert set(before) == {"projector.safetensors", "centres.safetensors", "history.parquet", "config.json"}
    assert [r.computed for r in train(pairs, tmp_path / "one").values()] == [0] and files(tmp_path / "one") == before
    with pytest.raises(Killed):
        train_connection(
            [(link, SETTINGS) for link in (SOUND, SHAPE)],
            "joint_coupling",
            pairs,
            tmp_path / "two",
            seed=3,
            progress=KillAt(7),
        )
    [resumed] = train(pairs, tmp_path / "two").values()
    assert resumed.computed < 3 and files(tmp_path / "two") == before


@pytest.mark.parametrize(
    "links",
    [
        {"sound": LinkTerms(weight=0.5), "shape": TERMS["shape"]},
        {**TERMS, "shape": TERMS["shape"].model_copy(update={"overlap_weight": 0.0})},
        {**TERMS, "shape": TERMS["shape"].model_copy(update={"temperature_pseudo": 0.1})},
        {**TERMS, "sound": TERMS["sound"].model_copy(update={"temperature_overlap": 0.2})},
        {**TERMS, "shape": TERMS["shape"].model_copy(update={"share": 0.5})},
    ],
)
def test_every_term_of_a_link_has_an_effect(pairs, tmp_path, links):
    train(pairs, tmp_path / "one")
    train(pairs, tmp_path / "two", SETTINGS.model_copy(update={"links": links}))
    assert files(tmp_path / "one")["projector.safetensors"] != files(tmp_path / "two")["projector.safetensors"]


def test_other_pairs_of_one_link_train_all_again(pairs, tmp_path):
    train(pairs, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    content = json.loads(config.read_text())
    assert [link["name"] for link in content["links"]] == ["sound", "shape"]
    assert (
        "share" not in content["links"][1]["train"]["links"]["shape"]
    )  # or models of earlier versions would be trained again
    content["links"][1]["pairs"] = "0" * 64
    config.write_text(json.dumps(content))
    assert [result.computed for result in train(pairs, tmp_path / "model").values()] == [3]


@pytest.mark.parametrize(
    ("memories", "message"),
    [
        ([("a", "b"), ("c", "d")], "no link connects a, b to c, d"),
        ([("a", "b"), ("b", "a")], "two links join the same spaces"),
        ([("a", "b", "c")], "each link has the memories of two spaces"),
    ],
)
def test_a_graph_hangs_together(memories, message):
    raw = parameters("joint_coupling")
    links = {
        f"link{number}": {
            "overlap": "text",
            "queries": ["captions"],
            "memories": {space: {"modality": "image", "corpora": ["photos"]} for space in spaces},
        }
        for number, spaces in enumerate(memories)
    }
    raw["connections"]["main"]["join"] = {"links": links}
    with pytest.raises(UserError, match=message):
        check_params(raw, "params.yaml")


def test_terms_of_no_link_are_refused():
    raw = parameters("joint_coupling")
    raw["connections"]["main"]["train"]["links"] = {"clab": {"weight": 2.0}}
    with pytest.raises(UserError, match="train.links.*there is no such link; did you mean 'clap'"):
        check_params(raw, "params.yaml")
