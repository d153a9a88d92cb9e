"""Ex-MCR's three sets of pseudo-pairs against loops, and what makes which of them again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.progress import Silent
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.pseudo_pairs import EXAMPLES_NAME, write_pairs
from pipeline.retrieve.settings import LeafRetrieveSettings
from pipeline.store import PAIRS, PartFolder, Store
from tests.makers.devices import NEEDS_FAISS
from tests.makers.links import make_link
from tests.retrieve.test_pseudo_pairs import TAU, content, vector, write_store

CAPTIONS = [[f"t{number:02d}" for number in range(start, start + 9)] for start in (0, 9)]
PHOTOS = [[f"p{number}" for number in range(start, start + 6)] for start in (0, 6)]
SOUNDS = [[f"s{number}" for number in range(start, start + 5)] for start in (0, 5, 10)]
COLUMNS = {"clip_text", "clip_image", "clap_text", "clap_audio"}
PARTS = {"overlap": 2, "leaf": 3, "base": 2}


@pytest.fixture
def wanted(tmp_path: Path) -> PairSet:
    def store(space: str, corpus: str, modality: str, parts: list[list[str]], shuffle: bool = False) -> None:
        write_store(tmp_path / "embeddings" / space / corpus / modality, space, modality, parts, 1, shuffle)

    # The leaf holds the captions in another order and in other parts: only keys can join them. One it does not have.
    flat = [key for part in CAPTIONS for key in part]
    store("clip", "captions", "text", CAPTIONS)
    store("clap", "captions", "text", [flat[5:-1], flat[:5]], shuffle=True)
    store("clip", "photos", "image", PHOTOS)
    store("clap", "sounds", "audio", SOUNDS)
    link = make_link("unified", base="clip", sets=tuple(PARTS))
    return PairSet(link, "exmcr", LeafRetrieveSettings(temperature=TAU), 0, tmp_path / "embeddings", "overlap")


def run(wanted: PairSet, folder: Path, centre: str) -> PartFolder:
    return write_pairs(replace(wanted, name=centre), folder / centre, "cpu", 1, 0.1, Silent())


def bank(space: str, modality: str, keys: list[str]) -> list[list[float]]:
    return [[float(value) for value in vector(space, modality, key, 1)] for key in keys]


def soft(query: list[float], keys: list[list[float]], values: list[list[float]], tau: float = TAU) -> list[float]:
    """Sum of softmax(query . key / tau) value, term by term."""
    logits = [sum(q * k for q, k in zip(query, key, strict=True)) / tau for key in keys]
    weights = [np.exp(logit - max(logits)) for logit in logits]
    return [
        sum(w * value[d] for w, value in zip(weights, values, strict=True)) / sum(weights)
        for d in range(len(values[0]))
    ]


def chain(centre: str, key: str, tau: float = TAU, renormalise: bool = False) -> dict[str, list[float]]:
    """One row by the definition; `bank`s are lists, nothing is shared with the code under test."""
    shared = [name for part in CAPTIONS for name in part][:-1]
    texts = {space: bank(space, "text", shared) for space in ("clip", "clap")}
    photos = bank("clip", "image", [name for part in PHOTOS for name in part])
    sounds = bank("clap", "audio", [name for part in SOUNDS for name in part])

    def ask(average: list[float]) -> list[float]:
        return [v / np.sqrt(sum(w * w for w in average)) for v in average] if renormalise else average

    if centre == "overlap":
        t_clip, t_clap = bank("clip", "text", [key])[0], bank("clap", "text", [key])[0]
        image, audio = soft(t_clip, photos, photos, tau), soft(t_clap, sounds, sounds, tau)
    elif centre == "leaf":
        audio = bank("clap", "audio", [key])[0]
        t_clap, t_clip = (soft(audio, texts["clap"], texts[space], tau) for space in ("clap", "clip"))
        image = soft(ask(t_clip), photos, photos, tau)
    else:
        image = bank("clip", "image", [key])[0]
        t_clip, t_clap = (soft(image, texts["clip"], texts[space], tau) for space in ("clip", "clap"))
        audio = soft(ask(t_clap), sounds, sounds, tau)
    return {"clip_text": t_clip, "clip_image": image, "clap_text": t_clap, "clap_audio": audio}


@pytest.mark.parametrize(("tau", "renormalise"), [(TAU, False), (TAU, True), (0.3, False)])
@pytest.mark.parametrize("centre", ["overlap", "leaf", "base"])
def test_every_set_follows_its_chain(
    wanted: PairSet, tmp_path: Path, centre: str, tau: float, renormalise: bool
) -> None:
    settings = LeafRetrieveSettings(temperature=tau, renormalise_chain=renormalise)
    folder = run(replace(wanted, settings=settings), tmp_path, centre)
    assert folder.computed == PARTS[centre]
    rows = Store.open(tmp_path / centre, PAIRS).read()
    expected_keys = {"overlap": CAPTIONS, "leaf": SOUNDS, "base": PHOTOS}[centre]
    flat = [key for part in expected_keys for key in part]
    assert rows.keys == (flat[:-1] if centre == "overlap" else flat)
    assert rows.vectors.keys() == COLUMNS
    for number, key in enumerate(rows.keys):
        for column, expected in chain(centre, key, tau, renormalise).items():
            np.testing.assert_allclose(rows.vectors[column][number], expected, atol=1e-5, err_msg=f"{column} of {key}")


def test_queries_keep_every_bit_and_both_softmaxes_are_described(wanted: PairSet, tmp_path: Path) -> None:
    described = {
        "overlap": {"clip_image", "clap_audio"},
        "leaf": {"clap_text", "clip_image"},
        "base": {"clip_text", "clap_audio"},
    }
    for centre, query in (("overlap", ("clip", "text")), ("leaf", ("clap", "audio")), ("base", ("clip", "image"))):
        run(wanted, tmp_path, centre)
        rows = Store.open(tmp_path / centre, PAIRS).read()
        raw = np.stack([vector(*query, key, 1) for key in rows.keys])
        np.testing.assert_array_equal(rows.vectors["_".join(query)], raw)
        names = {
            f"{column}_{name}" for column in described[centre] for name in ("neighbours", "top_score", "missed_mass")
        }
        assert rows.numbers.keys() == names
        for column in described[centre]:
            assert (rows.numbers[f"{column}_neighbours"] > 1).all()


def test_a_shuffled_bridge_is_the_same_wrong_bridge_in_every_set(wanted: PairSet, tmp_path: Path) -> None:
    broken = replace(wanted, settings=LeafRetrieveSettings(temperature=TAU, control="shuffled_overlap"))
    for centre in PARTS:
        run(broken, tmp_path, centre)
    shared = [name for part in CAPTIONS for name in part][:-1]
    partner = strangers(len(shared), 0, "unified/clap", "shuffled_overlap")
    clap = bank("clap", "text", [shared[row] for row in partner])
    found = {centre: Store.open(tmp_path / centre, PAIRS).read() for centre in PARTS}
    np.testing.assert_allclose(found["overlap"].vectors["clap_text"], clap, atol=1e-6)
    sound, photo = bank("clap", "audio", ["s0"])[0], bank("clip", "image", ["p0"])[0]
    clip = bank("clip", "text", shared)
    np.testing.assert_allclose(found["leaf"].vectors["clip_text"][0], soft(sound, clap, clip), atol=1e-5)
    np.testing.assert_allclose(found["base"].vectors["clap_text"][0], soft(photo, clip, clap), atol=1e-5)


def test_a_change_makes_again_what_it_concerns(wanted: PairSet, tmp_path: Path) -> None:
    for centre in PARTS:
        run(wanted, tmp_path, centre)
    before = {centre: content(tmp_path / centre) for centre in PARTS}
    for centre in PARTS:
        assert run(wanted, tmp_path, centre).computed == 0
        assert content(tmp_path / centre) == before[centre]
    # Which sets there are concerns none of them.
    fewer = replace(wanted, settings=wanted.settings.model_copy(update={"sets": ("leaf",)}))
    assert run(fewer, tmp_path, "leaf").computed == 0
    # One part of the sounds: rows of the leaf-centric set that were asked with it, all rows of those that average it.
    changed = [SOUNDS[0], SOUNDS[1], SOUNDS[2][::-1]]
    write_store(wanted.memory_stores("clap")[0], "clap", "audio", changed, 1)
    assert {centre: run(wanted, tmp_path, centre).computed for centre in PARTS} == {"overlap": 2, "leaf": 1, "base": 2}
    # A caption in another place: one query part of the overlap set, every row of the sets that go through captions.
    write_store(wanted.query_stores("clip")[0], "clip", "text", [CAPTIONS[0][::-1], CAPTIONS[1]], 1)
    assert {centre: run(wanted, tmp_path, centre).computed for centre in PARTS} == {"overlap": 1, "leaf": 3, "base": 2}


def test_sets_have_fingerprints_of_their_own(wanted: PairSet, tmp_path: Path) -> None:
    found = {centre: run(wanted, tmp_path, centre).manifest.fingerprint for centre in PARTS}
    assert {centre: entry["set"] for centre, entry in found.items()} == {centre: centre for centre in PARTS}
    assert found["leaf"]["sources"].keys() == {"clip_text", "clap_text", "clip_image"}
    assert found["base"]["sources"].keys() == {"clip_text", "clap_text", "clap_audio"}
    assert found["overlap"]["sources"].keys() == {"clip_image", "clap_audio"}


def test_examples_show_both_links_of_the_chain(wanted: PairSet, tmp_path: Path) -> None:
    run(wanted, tmp_path, "leaf")
    table = pq.read_table(tmp_path / "leaf" / EXAMPLES_NAME).to_pandas()
    assert set(table.query_key) == {key for part in SOUNDS for key in part}
    assert set(table["query"]) == {"clap_audio"} and set(table.memory) == {"clap_text", "clip_image"}
    row = table[(table.query_key == "s3") & (table["rank"] == 1)].set_index("memory")
    shared = [name for part in CAPTIONS for name in part][:-1]
    sound = np.array(bank("clap", "audio", ["s3"])[0])
    assert row.neighbour_key["clap_text"] == shared[int((np.array(bank("clap", "text", shared)) @ sound).argmax())]
    ask = np.array(chain("leaf", "s3")["clip_text"])
    photos = [name for part in PHOTOS for name in part]
    assert row.neighbour_key["clip_image"] == photos[int((np.array(bank("clip", "image", photos)) @ ask).argmax())]


@NEEDS_FAISS
@pytest.mark.parametrize("search", ["flat", "ivf"])
def test_top_k_searches_reach_the_copy_as_well(wanted: PairSet, tmp_path: Path, search: str) -> None:
    settings = LeafRetrieveSettings(temperature=TAU, search=search, top_k=17, ivf_lists=2, ivf_probes=2)
    run(replace(wanted, settings=settings), tmp_path, "base")
    rows = Store.open(tmp_path / "base", PAIRS).read()
    for column, expected in chain("base", "p4").items():
        np.testing.assert_allclose(rows.vectors[column][4], expected, atol=1e-4)
