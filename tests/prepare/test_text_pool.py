"""The pool of texts: from the published files, without any caption of an evaluation set, every row accounted for.

Layouts: Karpathy's dataset_coco.json (splits train, restval, val, test); cdjkim/audiocaps, dataset/train.csv (audiocap_id,
youtube_id, start_time, caption); Clotho's captions (file_name, caption_1 ... caption_5; a copy of the development file is in
JuheeGJGJ/Caption_America-Demo); CC3M's Train_GCC-training.tsv, which has no
header, a caption and an address in each row (jiasenlu/vilbert_beta, tools/DownloadConcptualCaption).
"""

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.prepare.text_pool import make_text_pool, normalised
from tests.makers.miniatures.files import table
from tests.makers.walk import mcr

CLOTHO_COLUMNS = ("file_name", *(f"caption_{number}" for number in range(1, 6)))
TEST_CAPTION = "A dog barks at the mailman."


def image(name: str, split: str, *captions: str) -> dict:
    return {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": text} for text in captions]}


@pytest.fixture(autouse=True)
def parameters_only(monkeypatch) -> None:
    """`mcr init` writes params.yaml, and no DVC project: DVC's log does not outlive the output of one command in a process."""
    monkeypatch.setattr("stages.tools.init.make_project", lambda demo: False)


@pytest.fixture
def downloads(tmp_path) -> Path:
    images = [
        image("COCO_train2014_000000000001", "train", "Two cats.", "A  dog barks at the Mailman", TEST_CAPTION),
        image("COCO_val2014_000000000002", "restval", "A red bus."),
        image("COCO_val2014_000000000003", "val", "Seen in validation."),
        image("COCO_val2014_000000000004", "test", TEST_CAPTION),
    ]
    files = {
        "coco/dataset_coco.json": json.dumps({"images": images}),
        "audiocaps/train.csv": table(
            ("audiocap_id", "youtube_id", "start_time", "caption"),
            (7, "-yt", 30, "Rain, and thunder"),
            (8, "b", 0, "Hum"),
        ),
        "audiocaps/test.csv": table(
            ("audiocap_id", "youtube_id", "start_time", "caption"), (9, "c", 1, "A low hum"), (10, "c", 1, "HUM!")
        ),
        "clotho/clotho_captions_development.csv": table(
            CLOTHO_COLUMNS, ("City street (1).wav", "a", "b", "c", "d", "...")
        ),
        "cc3m/Train_GCC-training.tsv": "".join(
            f'caption number {n} "quoted\tand\thttp://x/{n}\n' if n == 3 else f"caption number {n}\thttp://x/{n}\n"
            for n in range(50)
        )
        + "no address\nseen in validation\thttp://x\n\thttp://y\n",
    }
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return tmp_path


def rows(path: Path) -> dict[str, str]:
    return {row["key"]: row["text"] for row in map(json.loads, path.read_text().splitlines())}


def test_captions_of_evaluation_sets_are_left_out_and_every_row_is_accounted_for(downloads, tmp_path, monkeypatch):
    pool = make_text_pool(downloads, tmp_path / "out", 20, 0)
    kept = rows(tmp_path / "out" / "captions.jsonl")
    left = {
        r["key"]: r["reason"] for r in map(json.loads, (tmp_path / "out" / "left-out.jsonl").read_text().splitlines())
    }
    assert {key: text for key, text in kept.items() if not key.startswith("cc3m")} == {
        "COCO_train2014_000000000001-0": "Two cats.",
        "COCO_val2014_000000000002-0": "A red bus.",
        "audiocaps-7": "Rain, and thunder",
        **{f"clotho-City_street_1_-{number}": letter for number, letter in enumerate("abcd")},
    }
    assert left == {
        "COCO_train2014_000000000001-1": "an evaluation caption but for case, punctuation or blanks",
        "COCO_train2014_000000000001-2": "an evaluation caption",
        "audiocaps-8": "an evaluation caption but for case, punctuation or blanks",
        "clotho-City_street_1_-4": "empty",
        "cc3m-00000050": "not a caption and an address",
        "cc3m-00000051": "an evaluation caption but for case, punctuation or blanks",
        "cc3m-00000052": "empty",
    }
    assert sum(key.startswith("cc3m") for key in kept) == 20
    read = {"coco": 4, "audiocaps": 2, "clotho": 5, "cc3m": 53}
    assert {name: sum(counts.values()) for name, counts in pool.rows.items()} == read
    assert pool.rows["cc3m"] | {"kept": 20, "not drawn": 30} == pool.rows["cc3m"]
    assert pool.held_out == {"coco, val and test": 2, "audiocaps, test": 2}
    about = json.loads((tmp_path / "out" / "pool.json").read_text())
    assert about["seed"] == 0 and len(about["sha256"]) == 5 and "audiocaps/val.csv" in about["missing"]
    assert {normalised(text) for text in kept.values()}.isdisjoint(
        map(normalised, (TEST_CAPTION, "seen in validation", "hum", "a low hum"))
    )


def test_the_draw_follows_its_seed_and_the_pool_is_a_corpus(downloads, tmp_path, monkeypatch):
    drawn = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_text_pool(downloads, tmp_path / place, 20, seed)
        drawn.append((tmp_path / place / "captions.jsonl").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
    make_text_pool(downloads, tmp_path / "all", 1000, 0)
    assert sum(key.startswith("cc3m") for key in rows(tmp_path / "all" / "captions.jsonl")) == 50
    monkeypatch.chdir(tmp_path)
    mcr("init", "tables/cmcr-audio-image")
    said = mcr("text-pool", str(downloads), "--draw", "20")
    assert "text-pool cc3m: 53 rows: 20 kept, 30 not drawn" in said.replace("\n", " ")
    assert "27 captions in data/raw/texts/captions.jsonl" in said
    assert "27" in mcr("shard", "texts")


@pytest.mark.parametrize(
    "path", ["coco/dataset_coco.json", "audiocaps/train.csv", "clotho/clotho_captions_development.csv"]
)
def test_what_is_not_in_its_layout_is_refused_and_nothing_is_written(downloads, tmp_path, path):
    (downloads / path).write_text("[]" if path.endswith("json") else "a,b\n1,2\n")
    with pytest.raises(UserError, match=Path(path).name):
        make_text_pool(downloads, tmp_path / "out", 5, 0)
    assert not (tmp_path / "out" / "captions.jsonl").exists()


def test_an_earlier_pool_stays_where_no_caption_may_be_used(tmp_path):
    path = tmp_path / "coco" / "dataset_coco.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": [image("a", "train", "Two cats.")]}))
    make_text_pool(tmp_path, tmp_path / "out", 5, 0)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    path.write_text(json.dumps({"images": [image("a", "train", "Two cats."), image("b", "test", "Two cats.")]}))
    with pytest.raises(UserError, match="may be used"):
        make_text_pool(tmp_path, tmp_path / "out", 5, 0)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_two_sounds_whose_names_differ_in_a_blank_have_keys_of_their_own(tmp_path, monkeypatch):
    """Clotho has Car_Keys.wav and Car Keys.wav: the pool could not be sharded."""
    path = tmp_path / "clotho" / "clotho_captions_development.csv"
    path.parent.mkdir()
    path.write_text(table(CLOTHO_COLUMNS, ("Car_Keys.wav", *"abcde"), ("Car Keys.wav", *"fghij")))
    monkeypatch.chdir(tmp_path)
    mcr("init", "tables/cmcr-audio-image")
    assert "10 kept" in mcr("text-pool", ".")
    assert "in 10 = 10 out" in mcr("shard", "texts").replace(",", "")
    assert rows(Path("data/raw/texts/captions.jsonl"))["clotho-Car_Keys_-4"] == "j"


def test_without_any_file_the_layout_is_shown(tmp_path):
    with pytest.raises(UserError) as error:
        make_text_pool(tmp_path, tmp_path / "out", 5, 0)
    assert "cc3m/Train_GCC-training.tsv" in error.value.hint
