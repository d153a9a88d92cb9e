"""Coupling with a third space that has a say, against brute force in float64."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.links import Witness
from pipeline.params.load import check_params
from pipeline.retrieve.memory.profile_parts import Asked
from pipeline.retrieve.profiles import Profiles
from pipeline.retrieve.settings import Softness, WitnessedRetrieveSettings
from pipeline.store import PAIRS, Store
from tests.makers.walk import parameters
from tests.retrieve import test_pseudo_pairs as stores
from tests.retrieve.methods.test_coupling import drawn, read, softmax, table, unit
from tests.retrieve.methods.test_coupling import scores as without_witness
from tests.retrieve.test_pseudo_pairs import PHOTOS, SOUNDS, TEXTS, content, run, wanted, write_store

averaged = wanted
T1, T2, TW, WEIGHT, DRAWS = 0.2, 0.3, 0.15, 0.5, 3000
SETTINGS = WitnessedRetrieveSettings(
    profile=Softness(temperature=T1),
    partner=Softness(temperature=T2),
    witness=Softness(temperature=TW),
    witness_weight=WEIGHT,
    draws=DRAWS,
)


@pytest.fixture
def asked(averaged, monkeypatch):
    """Photos and captions that ULIP embedded as well, captions in another order and with one too many."""
    monkeypatch.setitem(stores.WIDTH, "ulip", 10)
    for corpus, modality, parts in (
        ("captions", "text", [[*TEXTS[2], "more"], TEXTS[0], TEXTS[1]]),
        ("photos", "image", PHOTOS),
    ):
        write_store(averaged.embeddings / "ulip" / corpus / modality, "ulip", modality, parts, 1)
    link = averaged.link.model_copy(update={"witness": Witness(space="ulip", modality="image"), "sets": ("samples",)})
    return replace(averaged, link=link, method="joint_coupling", settings=SETTINGS, name="samples")  # fmt: skip


def scores() -> np.ndarray:
    """The score of the module's text written down as it stands."""
    v, a, u = table("clip", "image", PHOTOS), table("clap", "audio", SOUNDS), table("ulip", "image", PHOTOS)
    c_t, a_t, u_t = (table(space, "text", TEXTS) for space in ("clip", "clap", "ulip"))
    at = unit(softmax(v @ c_t.T / T1 + WEIGHT * u @ u_t.T / TW, 1.0) @ a_t)
    weights = softmax(a @ a_t.T, T1)
    ct, ut = unit(weights @ c_t), unit(weights @ u_t)
    at, a, v, ct, u, ut = (unit(rows - rows.mean(0)) for rows in (at, a, v, ct, u, ut))
    return at @ a.T + v @ ct.T + WEIGHT * u @ ut.T


def test_partners_are_drawn_with_the_witness(asked, tmp_path):
    run(asked, tmp_path / "pairs")
    both = scores()
    assert np.abs(both - without_witness(T1)).max() > 0.1
    for kind, other, matrix in (("clip_image", "clap_audio", both), ("clap_audio", "clip_image", both.T)):
        rows, expected = read(tmp_path / "pairs", kind), softmax(matrix, T2)
        frequencies = np.stack([np.bincount(row, minlength=matrix.shape[1]) for row in drawn(rows, other)]) / DRAWS
        degrees = matrix.shape[0] * (matrix.shape[1] - 1)
        statistic = (DRAWS * np.square(frequencies - expected) / expected).sum()
        assert abs(statistic - degrees) < 4 * np.sqrt(2 * degrees)
        np.testing.assert_allclose(rows.numbers[f"{other}_top_score"], matrix.max(1), atol=1e-5)


def test_every_memory_passes_over_the_texts_once(asked, tmp_path, monkeypatch):
    """What a sound's texts say is read in CLIP and by the witness at once: the weights are the same."""
    profiles, made = Asked.profiles, list[int]()

    def counted(self: Asked, rows: slice = slice(None)) -> Profiles:
        made.append(self.there.shape[1])
        return profiles(self, rows)

    monkeypatch.setattr(Asked, "profiles", counted)
    run(replace(asked, settings=SETTINGS.model_copy(update={"draws": 4})), tmp_path / "pairs")
    assert made == [stores.WIDTH["clap"], stores.WIDTH["clip"] + stores.WIDTH["ulip"]]


def test_without_a_witness_they_are_those_of_coupling(asked, tmp_path):
    asked = replace(asked, link=asked.link.model_copy(update={"witness": None}))
    run(replace(asked, settings=SETTINGS.model_copy(update={"draws": 4})), tmp_path / "pairs")
    rows = read(tmp_path / "pairs", "clip_image")
    np.testing.assert_allclose(rows.numbers["clap_audio_top_score"], without_witness(T1).max(1), atol=1e-5)


def test_the_manifest_says_who_was_asked_and_other_embeddings_of_it_make_other_pairs(asked, tmp_path):
    settings = SETTINGS.model_copy(update={"draws": 4, "witness": Softness(perplexity=20)})
    asked = replace(asked, settings=settings)
    run(asked, tmp_path / "pairs")
    made = Store.open(tmp_path / "pairs", PAIRS).manifest.fingerprint
    assert made["witness"]["modality"] == "image" and made["witness"]["space"]["space"] == "ulip"
    texts, photos = table("ulip", "text", TEXTS), table("ulip", "image", PHOTOS)
    weights = softmax(photos @ texts.T, made["solved"]["witness"])
    assert np.exp(-(weights * np.log(weights)).sum(1).mean()) == pytest.approx(20, rel=0.01)
    before = content(tmp_path / "pairs")
    assert run(asked, tmp_path / "pairs").computed == 0
    write_store(asked.embeddings / "ulip" / "photos" / "image", "ulip", "image", PHOTOS, 2)
    assert run(asked, tmp_path / "pairs").computed > 0
    assert content(tmp_path / "pairs") != before


def test_a_witness_that_lacks_a_caption_is_named(asked, tmp_path):
    write_store(asked.embeddings / "ulip" / "captions" / "text", "ulip", "text", [TEXTS[0][1:], TEXTS[1], TEXTS[2]], 1)
    with pytest.raises(UserError, match="no embedding of 1 samples, such as t00"):
        run(asked, tmp_path / "pairs")


@pytest.mark.parametrize(
    ("witness", "message"),
    [
        ({"space": "ulip", "modality": "image"}, "witness = 'captions': add to `encode` the job  ulip-captions"),
        ({"space": "clip", "modality": "image"}, "witness: has to be a third space"),
        ({"space": "ulip", "modality": "point"}, "witness: has to be a third space"),
        ({"space": "ulib", "modality": "image"}, "there is no such space; did you mean 'ulip'"),
    ],
)
def test_a_witness_that_cannot_be_asked_is_refused(witness, message):
    raw = parameters("joint_coupling")
    raw["spaces"]["ulip"] = {"encoder": "compact", "checkpoint": "ulip.pt"}
    raw["connections"]["main"]["join"]["links"]["clap"]["witness"] = witness
    with pytest.raises(UserError, match=message):
        check_params(raw, "params.yaml")
