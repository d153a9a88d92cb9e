"""Pseudo-pairs on disk: joins, accounting, controls, resume."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.progress import Silent
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.methods import cmcr
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.pseudo_pairs import EXAMPLES_NAME, write_pairs
from pipeline.retrieve.settings import RetrieveSettings
from pipeline.store import EMBEDDINGS, PAIRS, PartFolder, Rows, Store, write_rows
from pipeline.store.manifest import MANIFEST_NAME
from tests.makers.devices import NEEDS_FAISS
from tests.makers.links import make_link

WIDTH = {"clip": 12, "clap": 8}
TAU = 0.1


def write_store(
    folder: Path,
    space: str,
    modality: str,
    parts: list[list[str]],
    seed: int,
    shuffle: bool = False,
    facts: dict | None = None,
) -> Path:
    """A store whose embedding depends on key, space and modality alone."""
    made = {
        "space": space,
        "dimension": WIDTH[space],
        "modality": modality,
        "encoder": {"of": modality},
        "batch_size": 4,
        **(facts or {}),
    }
    store = PartFolder(folder, EMBEDDINGS, made)
    for number, keys in enumerate(parts):
        ordered = list(np.random.default_rng(seed + number).permutation(keys)) if shuffle else keys
        ordered = [str(key) for key in ordered]
        rows = Rows(ordered, {"embedding": np.stack([vector(space, modality, key, seed) for key in ordered])}, {})
        store.commit(
            f"part-{number:05d}.parquet", str(seed), ordered, [], lambda path, rows=rows: write_rows(path, rows, {})
        )
    store.finish(0.0)
    return folder


def vector(space: str, modality: str, key: str, seed: int) -> np.ndarray:
    draw = np.random.default_rng([seed, *f"{space} {modality} {key}".encode()]).normal(size=WIDTH[space])
    return (draw / np.linalg.norm(draw)).astype(np.float32)


TEXTS = [[f"t{number:02d}" for number in range(start, start + 20)] for start in (0, 20, 40)]
PHOTOS = [[f"p{number}" for number in range(30)]]
SOUNDS = [[f"s{number}" for number in range(start, start + 25)] for start in (0, 25)]


@pytest.fixture
def wanted(tmp_path):
    def store(space, corpus, modality, parts, **more):
        write_store(tmp_path / "embeddings" / space / corpus / modality, space, modality, parts, seed=1, **more)

    store("clip", "captions", "text", TEXTS)
    # In another order within the parts, and cut into other parts.
    store("clap", "captions", "text", [TEXTS[2] + TEXTS[0][:7], TEXTS[0][7:] + TEXTS[1]], shuffle=True)
    store("clip", "photos", "image", PHOTOS)
    store("clap", "sounds", "audio", SOUNDS)
    return PairSet(make_link(), "cmcr", RetrieveSettings(temperature=TAU), 0, tmp_path / "embeddings", "overlap")


def run(wanted: PairSet, folder: Path, max_rejected: float = 0.0) -> PartFolder:
    return write_pairs(wanted, folder, "cpu", 1, max_rejected, Silent())


def expected_partner(space: str, query_modality: str, key: str, modality: str, memory: list[list[str]]) -> np.ndarray:
    bank = np.stack([vector(space, modality, name, 1) for part in memory for name in part]).astype(np.float64)
    logits = bank @ vector(space, query_modality, key, 1).astype(np.float64) / TAU
    weights = np.exp(logits - logits.max())
    return weights / weights.sum() @ bank


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_are_joined_by_key_and_partners_follow_the_definition(wanted, tmp_path):
    folder = run(wanted, tmp_path / "pairs")
    assert folder.computed == 3
    rows = Store.open(tmp_path / "pairs", PAIRS).read()
    assert rows.keys == [key for part in TEXTS for key in part]
    assert set(rows.vectors) == {"clip_text", "clip_image", "clap_text", "clap_audio"}
    for number, key in enumerate(rows.keys):
        np.testing.assert_array_equal(rows.vectors["clip_text"][number], vector("clip", "text", key, 1))
        np.testing.assert_array_equal(rows.vectors["clap_text"][number], vector("clap", "text", key, 1))
        image = expected_partner("clip", "text", key, "image", PHOTOS)
        audio = expected_partner("clap", "text", key, "audio", SOUNDS)
        np.testing.assert_allclose(rows.vectors["clip_image"][number], image, atol=1e-5)
        np.testing.assert_allclose(rows.vectors["clap_audio"][number], audio, atol=1e-5)
    for column in ("clip_image", "clap_audio"):
        assert {f"{column}_{name}" for name in ("neighbours", "top_score", "missed_mass")} <= rows.numbers.keys()
        assert (rows.numbers[f"{column}_neighbours"] >= 1).all()
        assert not rows.numbers[f"{column}_missed_mass"].any()


def test_the_fingerprint_says_what_the_pairs_were_made_from(wanted, tmp_path):
    found = run(wanted, tmp_path / "pairs").manifest.fingerprint
    assert found["spaces"]["clip"] == {
        "space": "clip",
        "dimension": 12,
        "batch_size": 4,
        "encoders": {"image": {"of": "image"}, "text": {"of": "text"}},
    }
    assert found["memories"] == {"clip": "image", "clap": "audio"}
    assert found["sources"].keys() == {"clip_image", "clap_audio"}
    assert found["settings"]["temperature"] == TAU


def test_queries_of_one_space_alone_are_rejected_and_counted(wanted, tmp_path):
    write_store(wanted.query_stores("clap")[0], "clap", "text", [TEXTS[0][3:], TEXTS[1], [*TEXTS[2], "only_clap"]], 1)
    with pytest.raises(UserError, match="no embedding in clap"):
        run(wanted, tmp_path / "strict")
    manifest = run(wanted, tmp_path / "pairs", max_rejected=0.1).manifest
    assert manifest.rows == 57
    assert {failure.key for part in manifest.parts for failure in part.rejected} == {*TEXTS[0][:3], "only_clap"}
    assert sum(part.samples_in for part in manifest.parts) == 61
    rows = Store.open(tmp_path / "pairs", PAIRS).read()
    for number, key in enumerate(rows.keys):
        np.testing.assert_array_equal(rows.vectors["clip_text"][number], vector("clip", "text", key, 1))
        np.testing.assert_array_equal(rows.vectors["clap_text"][number], vector("clap", "text", key, 1))


def test_stores_without_a_common_key_are_refused(wanted, tmp_path):
    write_store(wanted.query_stores("clap")[0], "clap", "text", [["x", "y"]], 1)
    with pytest.raises(UserError, match="no key in common"):
        run(wanted, tmp_path / "pairs")


def control(wanted: PairSet, name: str) -> PairSet:
    return replace(wanted, settings=RetrieveSettings(temperature=TAU, control=name))


def test_shuffled_overlap_breaks_the_bridge_in_the_table_and_in_the_retrieval(wanted, tmp_path):
    run(wanted, tmp_path / "intact")
    run(control(wanted, "shuffled_overlap"), tmp_path / "broken")
    intact, broken = (Store.open(tmp_path / name, PAIRS).read() for name in ("intact", "broken"))
    partner = strangers(60, 0, "audio_image", "shuffled_overlap")
    np.testing.assert_array_equal(broken.vectors["clap_text"], intact.vectors["clap_text"][partner])
    np.testing.assert_allclose(broken.vectors["clap_audio"], intact.vectors["clap_audio"][partner], atol=1e-6)
    for column in ("clip_text", "clip_image"):
        np.testing.assert_array_equal(broken.vectors[column], intact.vectors[column])


def test_random_partners_leave_the_overlap_alone(wanted, tmp_path):
    run(wanted, tmp_path / "intact")
    run(control(wanted, "random_partners"), tmp_path / "broken")
    intact, broken = (Store.open(tmp_path / name, PAIRS).read() for name in ("intact", "broken"))
    partner = strangers(60, 0, "audio_image", "random_partners")
    np.testing.assert_allclose(broken.vectors["clap_audio"], intact.vectors["clap_audio"][partner], atol=1e-6)
    for column in ("clip_text", "clip_image", "clap_text"):
        np.testing.assert_array_equal(broken.vectors[column], intact.vectors[column])


def test_no_row_keeps_its_partner():
    for rows in (2, 3, 100):
        partner = strangers(rows, 0, "connection", "control")
        assert sorted(partner) == list(range(rows))
        assert (partner != np.arange(rows)).all()
    assert (strangers(100, 0, "a", "x") != strangers(100, 1, "a", "x")).any()


@pytest.mark.parametrize(("name", "computed"), [("none", 2), ("shuffled_overlap", 3), ("random_partners", 3)])
def test_a_control_is_stale_when_any_query_changes(wanted, tmp_path, name, computed):
    run(control(wanted, name), tmp_path / "pairs")
    # The second text part is not in the part that changes, but a control may take its partners from there.
    parts = [(TEXTS[2] + TEXTS[0][:7])[::-1], TEXTS[0][7:] + TEXTS[1]]
    write_store(wanted.query_stores("clap")[0], "clap", "text", parts, 1, shuffle=True)
    assert run(control(wanted, name), tmp_path / "pairs").computed == computed


def test_a_second_run_computes_nothing_and_changes_no_byte(wanted, tmp_path):
    run(wanted, tmp_path / "pairs")
    before = content(tmp_path / "pairs")
    assert run(wanted, tmp_path / "pairs").computed == 0
    assert content(tmp_path / "pairs") == before


def test_a_changed_query_part_makes_its_rows_again_and_no_others(wanted, tmp_path):
    run(wanted, tmp_path / "pairs")
    write_store(wanted.query_stores("clip")[0], "clip", "text", [TEXTS[0], TEXTS[1], TEXTS[2][::-1]], seed=1)
    assert run(wanted, tmp_path / "pairs").computed == 1
    keys = Store.open(tmp_path / "pairs", PAIRS).read().keys
    assert keys[40:] == TEXTS[2][::-1]


@pytest.mark.parametrize("what", ["memory", "temperature", "seed"])
def test_what_concerns_every_row_makes_all_of_them_stale(wanted, tmp_path, what):
    run(wanted, tmp_path / "pairs")
    if what == "memory":
        write_store(wanted.memory_stores("clap")[0], "clap", "audio", SOUNDS, seed=2)
    elif what == "temperature":
        wanted = replace(wanted, settings=RetrieveSettings(temperature=0.2))
    else:
        wanted = replace(wanted, seed=1)
    assert run(wanted, tmp_path / "pairs").computed == 3


def test_a_killed_run_continues_to_the_same_bytes(wanted, tmp_path, monkeypatch):
    run(wanted, tmp_path / "whole")
    rows, made = cmcr.CmcrPairs.rows, []

    def killed(self, part):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(part.name)
        return rows(self, part)

    monkeypatch.setattr(cmcr.CmcrPairs, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        run(wanted, tmp_path / "killed")
    monkeypatch.undo()
    with pytest.raises(UserError, match="unfinished"):
        Store.open(tmp_path / "killed", PAIRS)
    assert run(wanted, tmp_path / "killed").computed == 1
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.mark.parametrize(("precision", "recorded"), [("auto", "cpu fp32"), ("fp16", "cpu fp16"), ("bf16", "cpu bf16")])
def test_parts_record_kind_of_device_and_precision_and_are_not_mixed(wanted, tmp_path, precision, recorded):
    wanted = replace(wanted, settings=wanted.settings.model_copy(update={"precision": precision}))
    folder = run(wanted, tmp_path / "pairs")
    assert {part.arithmetic for part in folder.manifest.parts} == {recorded}
    assert ("precision" in folder.manifest.fingerprint["settings"]) == (precision != "auto")
    path = tmp_path / "pairs" / MANIFEST_NAME
    write_sealed(path, json.loads(json.dumps(read_sealed(path)).replace(recorded, "cuda fp16")))
    assert run(wanted, tmp_path / "pairs").computed == 0, "what is complete stays valid"
    (tmp_path / "pairs" / folder.manifest.parts[1].name).unlink()
    with pytest.raises(UserError, match=f"partly computed with cuda fp16.*{recorded}"):
        run(wanted, tmp_path / "pairs")


@NEEDS_FAISS
@pytest.mark.parametrize("search", ["flat", "ivf"])
def test_top_k_reports_its_missed_mass(wanted, tmp_path, search):
    settings = RetrieveSettings(temperature=TAU, search=search, top_k=3, ivf_lists=4, ivf_probes=4)
    run(replace(wanted, settings=settings), tmp_path / "pairs")
    rows = Store.open(tmp_path / "pairs", PAIRS).read()
    missed = rows.numbers["clap_audio_missed_mass"]
    assert ((missed > 0) & (missed < 1)).all()


def test_examples_are_the_nearest_rows_of_each_memory(wanted, tmp_path):
    run(wanted, tmp_path / "pairs")
    table = pq.read_table(tmp_path / "pairs" / EXAMPLES_NAME).to_pandas()
    assert set(table["query"]) == {"clip_text"} and table.query_key.nunique() == 24
    assert len(table) == 24 * 2 * 5
    one = table[(table.query_key == "t40") & (table.memory == "clap_audio")]
    assert list(one["rank"]) == [1, 2, 3, 4, 5]
    query = vector("clap", "text", "t40", 1)
    scores = {key: float(vector("clap", "audio", key, 1) @ query) for part in SOUNDS for key in part}
    best = sorted(scores, key=scores.get, reverse=True)[:5]
    assert list(one.neighbour_key) == best
    total = sum(np.exp(score / TAU) for score in scores.values())
    np.testing.assert_allclose(one.score, [scores[key] for key in best], rtol=1e-5)
    np.testing.assert_allclose(one.weight, [np.exp(scores[key] / TAU) / total for key in best], rtol=1e-4)


def test_the_oracle_pairs_what_both_memories_know(wanted, tmp_path):
    paired = [["a", "b", "c"], ["d", "e"]]
    write_store(wanted.memory_stores("clip")[0], "clip", "image", paired, 1)
    write_store(wanted.memory_stores("clap")[0], "clap", "audio", [["e", "c", "b", "a"]], 1)
    oracle = replace(wanted, method="oracle", link=make_link(overlap="", sets=("true",)), name="true")
    manifest = run(oracle, tmp_path / "pairs", max_rejected=0.5).manifest
    rows = Store.open(tmp_path / "pairs", PAIRS).read()
    assert rows.keys == ["a", "b", "c", "e"]
    assert manifest.rejected == 1
    assert set(rows.vectors) == {"clip_image", "clap_audio"}
    for number, key in enumerate(rows.keys):
        np.testing.assert_array_equal(rows.vectors["clap_audio"][number], vector("clap", "audio", key, 1))
    assert pq.read_table(tmp_path / "pairs" / EXAMPLES_NAME).num_rows == 0
    with pytest.raises(UserError, match="no control"):
        run(control(oracle, "random_partners"), tmp_path / "control")


def test_stores_of_another_space_are_refused(wanted, tmp_path):
    write_store(wanted.query_stores("clip")[0], "clap", "text", TEXTS, 1)
    with pytest.raises(UserError, match="embeddings of the space 'clap', not 'clip'"):
        run(wanted, tmp_path / "pairs")


def test_an_unknown_method_is_refused(wanted, tmp_path):
    with pytest.raises(UserError, match="no method"):
        run(replace(wanted, method="magic"), tmp_path / "pairs")
