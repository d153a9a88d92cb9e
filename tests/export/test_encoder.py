"""A connected space as an encoder of others: its rows are those of `embed`, whatever way the items come in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mcr_connect import ConnectedSpace, Encoder, UserError, embed
from tests.makers.readme import code

ROOT = Path(__file__).parents[2]
PICTURES = [Path(f"data/raw/photos/p{number:02d}.png") for number in range(6)]
SOUNDS = [Path(f"data/raw/sounds/s{number:02d}.flac") for number in range(6)]


@pytest.fixture
def encoder(small_project: Path) -> Encoder:
    return Encoder(ConnectedSpace.load("data/models/audio_image"))


def test_all_ways_in_give_the_rows_of_embed(encoder: Encoder) -> None:
    expected = embed(encoder.space, files=[PICTURES[0], SOUNDS[0]], texts=["a photo of w1"]).numpy()
    wave, rate = soundfile.read(SOUNDS[0], dtype="float32")
    sound = {"array": wave, "sampling_rate": rate}
    for items in ([PICTURES[0], SOUNDS[0], "a photo of w1"], [Image.open(PICTURES[0]), sound, "a photo of w1"]):
        np.testing.assert_array_equal(encoder.encode(items, batch_size=2, show_progress_bar=False), expected)
    np.testing.assert_array_equal(encoder.encode("a photo of w1"), expected[2])
    batches = [{"image": [Image.open(PICTURES[0])], "id": ["x"]}, {"audio": [sound]}, {"text": ["a photo of w1"]}]
    np.testing.assert_array_equal(encoder.encode(batches), expected)
    both = encoder.encode([{"image": [Image.open(PICTURES[0])], "text": ["a photo of w1"]}])
    np.testing.assert_allclose(
        both[0] @ (expected[0] + expected[2]), np.linalg.norm(expected[0] + expected[2]), rtol=1e-5
    )
    assert encoder.encode([]).shape == (0, encoder.get_sentence_embedding_dimension())


def test_the_code_of_the_page_runs(encoder: Encoder) -> None:
    found: dict[str, Any] = {}
    exec(code("In a benchmark"), found)
    expected = embed(encoder.space, texts=["a dog barks", "rain"]).numpy()  # in one batch, which may round otherwise
    np.testing.assert_allclose(found["vectors"], expected, atol=1e-6)


def test_similarities_are_cosines(encoder: Encoder) -> None:
    first, second = torch.randn(3, 8), torch.randn(3, 8)
    expected = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)
    torch.testing.assert_close(encoder.similarity(first.numpy(), second), expected)
    torch.testing.assert_close(encoder.similarity_pairwise(first, second), expected.diagonal())


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (3, "A int cannot be encoded"),
        ([3], "A int is not a sound"),
        ([Path("none.png")], "There is no file none.png"),
        ([{"video": [1]}], "A batch holds none of text, image, audio"),
        ([{"image": ["data/raw"]}], ""),
        ([Path("data/raw/shapes/s00.npy")], "does not embed point"),
    ],
)
def test_what_cannot_be_encoded_is_said(encoder: Encoder, items: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        encoder.encode(items)


# A task of its own, made here, in mteb's own program: pictures are sought by sounds of the same number.
TASK = """
import json, sys
from pathlib import Path
import mteb, soundfile
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.cache import ResultCache
from PIL import Image
from mcr_connect import ConnectedSpace, Encoder

numbers = range(8)
class Made(AbsTaskRetrieval):
    metadata = TaskMetadata(
        type="Any2AnyRetrieval", name="Made", main_score="ndcg_at_10", description="x", reference="https://example.org",
        dataset={"path": "NA", "revision": "NA"}, category="t2i", eval_splits=["test"], eval_langs=["eng-Latn"],
        date=("2022-12-22", "2022-12-22"), dialect=["Written"], domains=[], task_subtypes=[], license="cc-by-4.0",
        annotations_creators="derived", modalities=["text", "image"], sample_creation="found", bibtex_citation="",
    )
    def load_data(self, *_, **__):
        queries = Dataset.from_dict({"id": [f"q{n}" for n in numbers], "text": [f"a photo of w{n}" for n in numbers]})
        pictures = [Image.open(f"data/raw/photos/p{n:02d}.png").convert("RGB") for n in numbers]
        corpus = Dataset.from_dict({"id": [f"d{n}" for n in numbers], "image": pictures})
        relevant = {f"q{n}": {f"d{n}": 1} for n in numbers}
        self.dataset = {"default": {"test": RetrievalSplitData(queries=queries, corpus=corpus, relevant_docs=relevant, top_ranked=None)}}
        self.data_loaded = True

encoder = Encoder(ConnectedSpace.load("data/models/audio_image"))
result = mteb.evaluate(encoder, [Made()], cache=ResultCache("results"), co2_tracker=False)
[task] = result.task_results
print("SCORES", json.dumps(task.scores["test"][0]))
"""


@pytest.mark.slow
def test_mteb_measures_what_we_measure(encoder: Encoder) -> None:
    """Needs the extra mteb, in this environment or in the folder that MTEB_PACKAGES names."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("MTEB_PACKAGES", "")])}
    probe = subprocess.run([sys.executable, "-c", "import mteb"], env=environment, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("needs the extra mteb")
    done = subprocess.run([sys.executable, "-c", TASK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads(done.stdout.split("SCORES ")[1])
    files = [Path(f"data/raw/photos/p{number:02d}.png") for number in range(8)]
    cosines = encoder.encode([f"a photo of w{number}" for number in range(8)]) @ encoder.encode(files).T
    ranks = (cosines >= cosines.diagonal()[:, None]).sum(1)
    assert scores["recall_at_1"] == pytest.approx((ranks <= 1).mean(), abs=1e-4)
    assert scores["recall_at_3"] == pytest.approx((ranks <= 3).mean(), abs=1e-4)
    assert scores["ndcg_at_10"] == pytest.approx((1 / np.log2(1 + ranks)).mean(), abs=1e-4)
