"""Coupling on disk: score, partners, statistics, controls and resume, against brute force in float64."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.retrieve.controls import strangers
from pipeline.retrieve.methods import coupling
from pipeline.retrieve.pseudo_pairs import EXAMPLES_NAME
from pipeline.retrieve.settings import CouplingRetrieveSettings, Softness
from pipeline.store import PAIRS, Rows, Store, read_rows
from pipeline.store.parts import names
from pipeline.train.methods.coupled import of_kind
from tests.makers.devices import NEEDS_FAISS
from tests.retrieve.test_pseudo_pairs import PHOTOS, SOUNDS, TEXTS, content, run, vector, wanted, write_store

averaged = wanted
T1, T2, DRAWS = 0.2, 0.3, 3000
SETTINGS = CouplingRetrieveSettings(profile=Softness(temperature=T1), partner=Softness(temperature=T2), draws=8)
PARTS = ["clip_image-00000", "clap_audio-00000", "clap_audio-00001", "text-00000", "text-00001", "text-00002"]


@pytest.fixture
def wanted(averaged):
    return replace(averaged, method="coupling", settings=SETTINGS, name="samples")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def table(space: str, modality: str, parts: list[list[str]]) -> np.ndarray:
    return np.stack([vector(space, modality, key, 1) for part in parts for key in part]).astype(np.float64)


def softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((scores - scores.max(1, keepdims=True)) / temperature)
    return weights / weights.sum(1, keepdims=True)


def scores(t1: float = T1, order: np.ndarray | None = None) -> np.ndarray:
    """s(v, a) of coupling.md written down as it stands; `order` shuffles the second space's texts."""
    v, a = table("clip", "image", PHOTOS), table("clap", "audio", SOUNDS)
    c_t, a_t = table("clip", "text", TEXTS), table("clap", "text", TEXTS)
    if order is not None:
        a_t = a_t[order]
    at, ct = unit(softmax(v @ c_t.T, t1) @ a_t), unit(softmax(a @ a_t.T, t1) @ c_t)
    centred = [unit(rows - rows.mean(0)) for rows in (at, a, v, ct)]
    return centred[0] @ centred[1].T + centred[2] @ centred[3].T


def read(folder: Path, kind: str) -> Rows:
    parts = [read_rows(path) for path in sorted(folder.glob(f"{kind}-*.parquet"))]
    return Rows(
        [key for rows in parts for key in rows.keys],
        {name: np.concatenate([rows.vectors[name] for rows in parts]) for name in parts[0].vectors},
        {name: np.concatenate([rows.numbers[name] for rows in parts]) for name in parts[0].numbers},
    )


def drawn(rows: Rows, column: str) -> np.ndarray:
    names = sorted(name for name in rows.numbers if name.startswith(f"{column}_draw_"))
    return np.stack([rows.numbers[name] for name in names], 1)


def test_each_embedding_is_there_once_and_texts_are_joined_by_key(wanted, tmp_path):
    folder = run(wanted, tmp_path / "pairs")
    assert [part.name for part in folder.manifest.parts] == sorted(f"{name}.parquet" for name in PARTS)
    assert folder.manifest.rows == 30 + 50 + 60
    for kind, (space, modality, parts) in {
        "clip_image": ("clip", "image", PHOTOS),
        "clap_audio": ("clap", "audio", SOUNDS),
    }.items():
        rows = read(tmp_path / "pairs", kind)
        assert rows.keys == [key for part in parts for key in part]
        np.testing.assert_array_equal(rows.vectors[kind], table(space, modality, parts).astype(np.float32))
        assert set(rows.vectors) == {kind}
    texts = read(tmp_path / "pairs", "text")
    for space in ("clip", "clap"):
        np.testing.assert_array_equal(texts.vectors[f"{space}_text"], table(space, "text", TEXTS).astype(np.float32))


def test_partners_are_drawn_from_the_softmax_of_the_score_and_the_statistics_describe_it(wanted, tmp_path):
    run(replace(wanted, settings=SETTINGS.model_copy(update={"draws": DRAWS})), tmp_path / "pairs")
    both = scores()
    for kind, other, matrix in (("clip_image", "clap_audio", both), ("clap_audio", "clip_image", both.T)):
        rows = read(tmp_path / "pairs", kind)
        expected = softmax(matrix, T2)
        partners = drawn(rows, other)
        assert partners.shape == (len(matrix), DRAWS)
        frequencies = np.stack([np.bincount(row, minlength=matrix.shape[1]) for row in partners]) / DRAWS
        # Summed over all samples: a chi-square with rows x (columns - 1) degrees of freedom, 4 deviations.
        degrees = matrix.shape[0] * (matrix.shape[1] - 1)
        statistic = (DRAWS * np.square(frequencies - expected) / expected).sum()
        assert abs(statistic - degrees) < 4 * np.sqrt(2 * degrees)
        entropy = -(expected * np.log(expected)).sum(1)
        np.testing.assert_allclose(rows.numbers[f"{other}_neighbours"], np.exp(entropy), rtol=1e-4)
        np.testing.assert_allclose(rows.numbers[f"{other}_top_score"], matrix.max(1), atol=1e-5)
        assert not rows.numbers[f"{other}_missed_mass"].any()
    weights = softmax(table("clip", "image", PHOTOS) @ table("clip", "text", TEXTS).T, T1)
    entropy = -(weights * np.log(weights)).sum(1)
    numbers = read(tmp_path / "pairs", "clip_image").numbers
    np.testing.assert_allclose(numbers["clip_text_neighbours"], np.exp(entropy), rtol=1e-4)


def test_perplexities_are_reached_and_the_manifest_has_the_temperatures(wanted, tmp_path):
    settings = SETTINGS.model_copy(update={"profile": Softness(perplexity=9), "partner": Softness(perplexity=6)})
    manifest = run(replace(wanted, settings=settings), tmp_path / "pairs").manifest
    assert set(manifest.fingerprint["solved"]) == {"profile_clip", "profile_clap", "partner_clip", "partner_clap"}
    for kind, softmax_of, target in (
        ("clip_image", "clap_audio", 6),
        ("clap_audio", "clip_image", 6),
        ("clip_image", "clip_text", 9),
        ("clap_audio", "clap_text", 9),
    ):
        found = read(tmp_path / "pairs", kind).numbers[f"{softmax_of}_neighbours"]
        assert np.exp(np.log(found).mean()) == pytest.approx(target, rel=0.02)
    fixed = run(wanted, tmp_path / "fixed").manifest.fingerprint
    assert fixed["solved"]["profile_clip"] == T1 and fixed["solved"]["partner_clap"] == T2
    assert fixed["sources"].keys() == {"clip_image", "clap_audio", "clip_text", "clap_text"}


@pytest.mark.parametrize(
    "change",
    [
        {"profile": Softness(temperature=0.25)},
        {"partner": Softness(temperature=0.35)},
        {"draws": 9},
        {"control": "shuffled_overlap"},
        {"control": "random_partners"},
        pytest.param({"search": "flat", "top_k": 3}, marks=NEEDS_FAISS),
        pytest.param({"search": "ivf", "top_k": 3, "ivf_lists": 4, "ivf_probes": 2}, marks=NEEDS_FAISS),
    ],
    ids=str,
)
def test_no_setting_is_without_effect_on_the_partners(wanted, tmp_path, change):
    run(wanted, tmp_path / "pairs")
    before = drawn(read(tmp_path / "pairs", "clip_image"), "clap_audio")
    changed = replace(wanted, settings=SETTINGS.model_copy(update=change))
    assert run(changed, tmp_path / "pairs").computed == len(PARTS)
    after = drawn(read(tmp_path / "pairs", "clip_image"), "clap_audio")
    assert before.shape != after.shape or (before != after).any()


def test_another_seed_draws_others(wanted, tmp_path):
    run(wanted, tmp_path / "a")
    run(replace(wanted, seed=1), tmp_path / "b")
    first, second = (drawn(read(tmp_path / name, "clip_image"), "clap_audio") for name in "ab")
    assert (first != second).mean() > 0.5


def test_the_bridge_and_both_memories_decide_every_part(wanted, tmp_path):
    run(wanted, tmp_path / "pairs")
    write_store(wanted.query_stores("clap")[0], "clap", "text", TEXTS, seed=2)
    assert run(wanted, tmp_path / "pairs").computed == len(PARTS)
    write_store(wanted.memory_stores("clap")[0], "clap", "audio", SOUNDS, seed=2)
    assert run(wanted, tmp_path / "pairs").computed == len(PARTS)
    assert run(wanted, tmp_path / "pairs").computed == 0


def test_shuffled_overlap_breaks_the_profiles_and_the_text_pairs(wanted, tmp_path):
    settings = SETTINGS.model_copy(update={"control": "shuffled_overlap"})
    run(replace(wanted, settings=settings), tmp_path / "pairs")
    order = strangers(60, 0, "audio_image", "shuffled_overlap")
    texts = read(tmp_path / "pairs", "text")
    np.testing.assert_array_equal(texts.vectors["clap_text"], table("clap", "text", TEXTS)[order].astype(np.float32))
    rows = read(tmp_path / "pairs", "clip_image")
    np.testing.assert_allclose(rows.numbers["clap_audio_top_score"], scores(order=order).max(1), atol=1e-5)


def test_random_partners_are_those_of_another_sample(wanted, tmp_path):
    settings = SETTINGS.model_copy(update={"control": "random_partners"})
    run(replace(wanted, settings=settings), tmp_path / "pairs")
    order = strangers(30, 0, "audio_image clip", "random_partners")
    rows = read(tmp_path / "pairs", "clip_image")
    np.testing.assert_allclose(rows.numbers["clap_audio_top_score"], scores().max(1)[order], atol=1e-5)
    np.testing.assert_array_equal(rows.vectors["clip_image"], table("clip", "image", PHOTOS).astype(np.float32))


@pytest.mark.parametrize("killed_at", range(1, len(PARTS)))
def test_a_killed_run_continues_to_the_same_bytes(wanted, tmp_path, monkeypatch, killed_at):
    run(wanted, tmp_path / "whole")
    rows, made = coupling.CouplingPairs.rows, []

    def killed(self, part):
        if len(made) == killed_at:
            raise KeyboardInterrupt
        made.append(part.name)
        return rows(self, part)

    monkeypatch.setattr(coupling.CouplingPairs, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        run(wanted, tmp_path / "killed")
    monkeypatch.undo()
    assert run(wanted, tmp_path / "killed").computed == len(PARTS) - killed_at
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_parts_in_subfolders_are_the_same_parts_in_the_same_order(wanted, tmp_path, monkeypatch):
    """Draws are row numbers among the parts in their order, and what is drawn hangs on the names of the parts."""
    run(wanted, tmp_path / "flat")
    monkeypatch.setattr(names, "PER_FOLDER", 1)
    run(wanted, tmp_path / "pairs")
    stores = [Store.open(tmp_path / name, PAIRS) for name in ("flat", "pairs")]
    places = [part.name.removesuffix(".parquet") for part in stores[1].manifest.parts]
    assert places == ["clap_audio-00000", "clap_audio-00001/clap_audio-00001", "clip_image-00000", "text-00000",
                      "text-00001/text-00001", "text-00002/text-00002"]  # fmt: skip
    assert stores[0].content_hash == stores[1].content_hash
    for kind in ("clip_image", "clap_audio", "text"):
        first, second = (of_kind(store, kind).read() for store in stores)
        assert first.keys == second.keys
        assert all(np.array_equal(first.vectors[name], second.vectors[name]) for name in first.vectors)
    assert run(wanted, tmp_path / "pairs").computed == run(wanted, tmp_path / "flat").computed == 0


@NEEDS_FAISS
def test_top_k_reports_its_missed_mass(wanted, tmp_path):
    settings = SETTINGS.model_copy(update={"search": "flat", "top_k": 4})
    run(replace(wanted, settings=settings), tmp_path / "pairs")
    rows = read(tmp_path / "pairs", "clip_image")
    expected = -np.sort(-softmax(scores(), T2), axis=1)[:, :4].sum(1)
    np.testing.assert_allclose(rows.numbers["clap_audio_missed_mass"], 1 - expected, atol=1e-4)
    best = np.argsort(-scores(), axis=1)[:, :4]
    assert all(set(row) <= set(best[place]) for place, row in enumerate(drawn(rows, "clap_audio")))


def test_examples_are_the_likeliest_partners_with_their_probabilities(wanted, tmp_path):
    run(wanted, tmp_path / "pairs")
    examples = pq.read_table(tmp_path / "pairs" / EXAMPLES_NAME).to_pandas()
    assert (examples.groupby("query_key").size() == 5).all() and examples.query_key.nunique() == 24
    one = examples[(examples.query_key == "p5")]
    assert (
        set(one["query"]) == {"clip_image"}
        and set(one.memory) == {"clap_audio"}
        and list(one["rank"]) == [1, 2, 3, 4, 5]
    )
    sounds = [key for part in SOUNDS for key in part]
    best = np.argsort(-scores()[5])[:5]
    assert list(one.neighbour_key) == [sounds[row] for row in best]
    np.testing.assert_allclose(one.weight, softmax(scores(), T2)[5][best], rtol=1e-4)


def test_queries_of_one_space_alone_are_counted(wanted, tmp_path):
    write_store(wanted.query_stores("clap")[0], "clap", "text", [TEXTS[0][3:], TEXTS[1], TEXTS[2]], 1)
    folder = run(wanted, tmp_path / "pairs", max_rejected=0.1)
    assert folder.manifest.rejected == 3 and folder.manifest.rows == 137
    assert Store.open(tmp_path / "pairs", PAIRS).manifest.complete
