"""What is joined comes from one space, and a store is what its place says."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.store import EMBEDDINGS, PartFolder, Rows, open_placed, read_placed, write_rows
from pipeline.store.integrity.agreement import check_made_by, space_differences, space_of

ENCODER = {"family": "f", "code_version": 1, "sha256": "a" * 64, "precision": "fp32", "packages": {"torch": "2"}}


def store(
    root: Path, place: str, corpus: str | None = None, encoder: dict[str, Any] | None = None, **more: Any
) -> Path:
    """A store at its place, which says that it is what `more` says."""
    space, named, modality = place.split("/")
    made = {
        "space": space,
        "spec": {"encoder": "compact", "checkpoint": "data/spaces/clip"},
        "dimension": 3,
        "modality": modality,
        "batch_size": 4,
        "encoder": {**ENCODER, "preprocessing": f"of {modality}", **(encoder or {})},
    }
    with PartFolder(root / place, EMBEDDINGS, made | more, corpus=named if corpus is None else corpus) as parts:
        rows = Rows([f"{named}-{row}" for row in range(3)], {"embedding": np.eye(3, dtype=np.float32)}, {})
        parts.commit("part-00000.parquet", "s", rows.keys, (), lambda path: write_rows(path, rows, {}))
        parts.finish(0.0)
    return root / place


def test_a_store_in_its_place_is_read(tmp_path):
    folders = [store(tmp_path, "clip/photos/image"), store(tmp_path, "clip/more/image")]
    assert len(read_placed(folders)[0]) == 6
    assert len(read_placed([store(tmp_path, "clip/older/image", corpus="")])[0]) == 3, "a manifest of the first version"


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("clip/captions/text", "corpus 'captions', not 'photos'"),
        ("clap/photos/image", "space 'clap', not 'clip'"),
        ("clip/photos/text", "modality 'text', not 'image'"),
    ],
)
def test_a_store_in_the_place_of_another_is_refused(tmp_path, taken, said):
    shutil.copytree(store(tmp_path / "data", taken), tmp_path / "clip/photos/image")
    with pytest.raises(UserError, match=said):
        open_placed(tmp_path / "clip/photos/image")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"encoder": {"sha256": "b" * 64}}, "encoder of .*sha256: aaaaaaaaaaaa.. -> bbbbbbbbbbbb.."),
        ({"encoder": {"code_version": 2}}, "encoder of .*code_version: 1 -> 2"),
        ({"encoder": {"family": "g"}}, "encoder of .*family: f -> g"),
        ({"encoder": {"precision": "bf16"}}, "encoder of .*precision: fp32 -> bf16"),
        ({"spec": {"encoder": "compact", "checkpoint": "elsewhere"}}, "spec.checkpoint: data/spaces/clip -> elsewhere"),
        ({"dimension": 4}, "dimension: 3 -> 4"),
    ],
)
@pytest.mark.parametrize("other", ["clip/captions/text", "clip/more/image"])
def test_a_memory_and_queries_of_two_checkpoints_are_refused(tmp_path, other, changed, field):
    first, second = store(tmp_path, "clip/photos/image"), store(tmp_path, other, **changed)
    with pytest.raises(UserError, match=field) as error:
        space_of("clip", [open_placed(first), open_placed(second)])
    assert str(first) in error.value.message and str(second) in error.value.message


def test_what_is_of_one_modality_is_compared_within_it(tmp_path):
    image, text = store(tmp_path, "clip/photos/image"), store(tmp_path, "clip/captions/text")
    record = space_of("clip", [open_placed(image), open_placed(text)])
    assert record["encoders"].keys() == {"image", "text"}
    cropped = store(tmp_path, "clip/cropped/image", encoder={"preprocessing": "cropped"})
    for folders in ([image, cropped], [text, image, cropped]):
        with pytest.raises(UserError, match="encoder of image.preprocessing: of image -> cropped"):
            space_of("clip", [open_placed(folder) for folder in folders])
    with pytest.raises(UserError, match=r"connection c was trained on .*config.json.*image.preprocessing"):
        check_made_by(open_placed(cropped), record, "connection c", Path("config.json"))
    check_made_by(open_placed(image), record, "connection c", Path("config.json"))


def test_what_earlier_versions_did_not_say_cannot_differ(tmp_path):
    record = space_of("clip", [open_placed(store(tmp_path, "clip/photos/image"))])
    older = {field: value for field, value in record.items() if field != "encoders"}
    assert space_differences(older, record) == space_differences(record, older) == []
    assert space_differences({**older, "batch_size": 8}, record) == [], "another batch size rounds differently, no more"


def test_a_corpus_may_be_prepared_in_its_own_way(tmp_path):
    plain = store(tmp_path, "ulip/objaverse/point")
    own = {"corpus_options": {"points": 8192, "crop": "x"}}
    encoder = {"preprocessing": "8192 points", "crop": "x"}
    other = store(tmp_path, "ulip/modelnet/point", encoder=encoder, **own)
    assert len(read_placed([plain, other])[0]) == 6
    record = space_of("ulip", [open_placed(plain)])
    assert "corpus_options" not in record
    check_made_by(open_placed(other), record, "connection c", Path("config.json"))
    both = space_of("ulip", [open_placed(plain), open_placed(other)])
    assert both["corpus_options"] == {"point": own["corpus_options"]}
    check_made_by(open_placed(plain), both, "connection c", Path("config.json"))

    changed = store(tmp_path, "ulip/later/point", encoder={**encoder, "preprocessing": "drawn otherwise"}, **own)
    with pytest.raises(UserError, match="preprocessing: 8192 points -> drawn otherwise"):
        read_placed([other, changed])
    with pytest.raises(UserError, match="preprocessing: 8192 points -> drawn otherwise"):
        check_made_by(open_placed(changed), space_of("ulip", [open_placed(other)]), "connection c", Path("config.json"))


@pytest.mark.parametrize(
    "changed", [{"sha256": "b" * 64}, {"code_version": 2}, {"precision": "bf16"}, {"fusion": True}]
)
def test_another_model_is_another_space_whatever_its_corpus_says(tmp_path, changed):
    plain = store(tmp_path, "ulip/objaverse/point", encoder={"fusion": False})
    other = store(tmp_path, "ulip/modelnet/point", encoder={"fusion": False} | changed, corpus_options={"points": 9})
    with pytest.raises(UserError, match=next(iter(changed))):
        read_placed([plain, other])
    with pytest.raises(UserError, match=next(iter(changed))):
        space_of("ulip", [open_placed(plain), open_placed(other)])
