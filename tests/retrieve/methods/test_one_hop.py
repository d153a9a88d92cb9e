"""Coupling where one memory is of the overlapping modality itself: partners in one hop, against brute force in float64."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.links import Link
from pipeline.params.load import check_params
from pipeline.plan.pairs import Sizes, cost_of
from pipeline.retrieve.controls import strangers
from pipeline.retrieve.pair_set import PairSet
from pipeline.retrieve.settings import CouplingRetrieveSettings, Softness
from pipeline.store import PAIRS, Store
from pipeline.train.methods.coupled import Coupled
from tests.makers.links import make_link
from tests.makers.walk import parameters
from tests.retrieve.methods.test_coupling import drawn, read, softmax, table, unit
from tests.retrieve.test_pseudo_pairs import SOUNDS, TEXTS, WIDTH, run, wanted, write_store

averaged = wanted
T2, DRAWS = 0.3, 3000
SETTINGS = CouplingRetrieveSettings(partner=Softness(temperature=T2), draws=8)


def linked(spaces: tuple[str, str]) -> Link:
    """Sounds of CLAP joined to the captions as CLIP embeds them."""
    return make_link(spaces=spaces, memories={"clip": "text", "clap": "audio"}, sets=("samples",))


@pytest.fixture(params=[("clip", "clap"), ("clap", "clip")], ids=["clip first", "clap first"])
def hop(averaged, request) -> PairSet:
    return replace(averaged, link=linked(request.param), method="coupling", settings=SETTINGS, name="samples")


def order(hop: PairSet) -> list[list[str]]:
    """Captions by part in the order of the first space."""
    return [Store.open(folder).read().keys for folder in hop.query_stores(hop.link.spaces[0])]


def scores(hop: PairSet, shuffled: np.ndarray | None = None) -> np.ndarray:
    """cos(t - m, a - m) in CLAP, captions by sounds; `shuffled` reads each caption as another one there."""
    texts, sounds = table("clap", "text", order(hop)), table("clap", "audio", SOUNDS)
    texts = texts if shuffled is None else texts[shuffled]
    return unit(texts - texts.mean(0)) @ unit(sounds - sounds.mean(0)).T


def test_partners_are_drawn_by_the_centred_cosine_in_the_space_that_knows_both(hop, tmp_path):
    run(replace(hop, settings=SETTINGS.model_copy(update={"draws": DRAWS})), tmp_path / "pairs")
    both = scores(hop)
    for kind, other, matrix in (("clip_text", "clap_audio", both), ("clap_audio", "clip_text", both.T)):
        rows, expected = read(tmp_path / "pairs", kind), softmax(matrix, T2)
        partners = drawn(rows, other)
        frequencies = np.stack([np.bincount(row, minlength=matrix.shape[1]) for row in partners]) / DRAWS
        degrees = matrix.shape[0] * (matrix.shape[1] - 1)
        statistic = (DRAWS * np.square(frequencies - expected) / expected).sum()
        assert abs(statistic - degrees) < 4 * np.sqrt(2 * degrees)
        np.testing.assert_allclose(rows.numbers[f"{other}_top_score"], matrix.max(1), atol=1e-5)


def test_each_embedding_is_there_once_and_training_reads_it(hop, tmp_path):
    folder = run(hop, tmp_path / "pairs")
    kinds = {part.name.rsplit("-", 1)[0] for part in folder.manifest.parts}
    assert kinds == {"clip_text", "clap_audio"} and folder.manifest.rows == 60 + 50
    assert set(folder.manifest.fingerprint["solved"]) == {"partner_clip", "partner_clap"}
    assert set(read(tmp_path / "pairs", "clip_text").vectors) == {"clip_text", "clap_text"}
    written = sum(
        rows.vectors[name].nbytes for _, rows in Store.open(tmp_path / "pairs", PAIRS).parts() for name in rows.vectors
    )
    written += 4 * SETTINGS.draws * (60 + 50)
    assert cost_of(hop.link, "drawn", Sizes(60, {"clip": 60, "clap": 50}, WIDTH, SETTINGS.draws)).bytes == written
    loaded = Coupled.load(Store.open(tmp_path / "pairs", PAIRS), hop.link, "cpu")
    of = dict(zip(hop.link.spaces, zip(loaded.samples, loaded.overlap, strict=True), strict=True))
    captions = order(hop)
    np.testing.assert_array_equal(of["clip"][0], of["clip"][1])
    for space, rows in (("clip", of["clip"][1]), ("clap", of["clap"][1])):
        np.testing.assert_array_equal(rows, table(space, "text", captions).astype(np.float32))
    np.testing.assert_array_equal(of["clap"][0], table("clap", "audio", SOUNDS).astype(np.float32))


def test_captions_of_one_space_alone_are_counted_and_are_no_partners(hop, tmp_path):
    write_store(hop.query_stores("clap")[0], "clap", "text", [TEXTS[0][3:], TEXTS[1], TEXTS[2]], 1)
    folder = run(hop, tmp_path / "pairs", max_rejected=0.1)
    assert folder.manifest.rejected == 3 and folder.manifest.rows == 57 + 50
    assert drawn(read(tmp_path / "pairs", "clap_audio"), "clip_text").max() < 57


def test_shuffled_overlap_breaks_the_hop_and_leaves_the_samples_alone(hop, tmp_path):
    settings = SETTINGS.model_copy(update={"control": "shuffled_overlap", "draws": 64})
    run(replace(hop, settings=settings), tmp_path / "pairs")
    rows = read(tmp_path / "pairs", "clip_text")
    captions = order(hop)
    np.testing.assert_array_equal(rows.vectors["clip_text"], table("clip", "text", captions).astype(np.float32))
    shuffled = strangers(60, hop.seed, hop.link.label, "shuffled_overlap")
    np.testing.assert_allclose(rows.numbers["clap_audio_top_score"], scores(hop, shuffled).max(1), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "memories", "queries", "message"),
    [
        ("cmcr", {"clip": "text", "clap": "audio"}, ["captions"], "memories.clip.modality = 'text': is the overlapping"),
        ("coupling", {"clip": "text", "clap": "text"}, ["captions"], "memories.clap.modality = 'text': is the overlapping"),
        ("coupling", {"clip": "text", "clap": "audio"}, ["heldout"], "memories.clip.corpora: are samples of the overlapping"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_in_one_hop_is_refused(method, memories, queries, message):
    raw = parameters(method)
    corpora = {"text": ["captions"], "audio": ["sounds"]}
    made = {space: {"modality": kind, "corpora": corpora[kind]} for space, kind in memories.items()}
    raw["connections"]["main"]["join"] |= {"memories": made, "queries": queries}
    with pytest.raises(UserError, match=message):
        check_params(raw, "params.yaml")


def test_coupling_over_its_own_overlap_is_valid():
    raw = parameters("coupling")
    raw["connections"]["main"]["join"]["memories"]["clip"] = {"modality": "text", "corpora": ["captions"]}
    [link] = check_params(raw, "params.yaml").connections["main"].links("main")
    assert link.overlapping_memory == "clip"
