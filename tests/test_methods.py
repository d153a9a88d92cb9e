"""Every method, from its record through parameters, plan, retrieve, train, evaluate and report to the page and the card.

Each is the first connection of a report of its own, under a name that says nothing. A made-up method of another package
(`tests/plugin`) walks the same way.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import methods as module
from pipeline import plugins as plugged
from pipeline.connect import ConnectedSpace
from pipeline.errors import CorruptError, UserError
from pipeline.evaluate.baselines import BASELINES
from pipeline.methods import BUILT_IN, CMCR, Method, method_called, methods
from pipeline.params.load import load_params
from pipeline.plan.pairs import Sizes, cost_of
from pipeline.store import PAIRS, Store
from pipeline.verify.results import check_model
from pipeline.verify.verdict import State
from tests.makers.walk import FIRST, MODALITIES, ROWS, WIDTHS, walk
from tests.report.test_page import Page, spaced

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
AVERAGED, NOT_AVERAGED = "are averaged with the weights shown", "nothing is averaged"
KEPT = "Whether the connection keeps what each space could do before"


def words(path: str) -> str:
    """What a page, or a card, says, with single spaces."""
    text = Path(path).read_text()
    return " ".join((Page(text).text if path.endswith(".html") else text).split())


def missing(page: str) -> str:
    """What the page says is missing of this connection."""
    return page.partition("inputs are missing")[2].partition("Results")[0]


def check_pages(method: Method, label: str) -> None:
    """What page and card of `walk` must say of a method, and must not."""
    page, card = words("data/reports/index.html"), words("data/reports/model_card.md")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    hubs = set() if method.is_bound else {f"{method.name}_hubs"}
    assert hubs <= set(metrics.method) <= {method.name, f"{method.name}_hubs"}
    assert label in page and label in card and "audio by clap, image by clip" in page
    assert (f"{FIRST}/clap" if method.keeps_base or method.joint else FIRST) + f" ({method.name})" in page
    if method.is_bound:
        assert "Only bounds and negative controls have been trained" in page
        assert AVERAGED not in page and NOT_AVERAGED not in page
        return
    assert f"{label} {'projected' if method.keeps_base else 'joined'} the frozen spaces" in page
    assert f"{label} {'projected' if method.keeps_base else 'joined'} the frozen spaces" in card
    assert "(text, audio)" in page and "(text, image)" in page
    assert (AVERAGED in page) == (method.pairs == "averaged")
    assert (NOT_AVERAGED in page) == (method.pairs == "drawn")
    assert (KEPT in page) == (not method.keeps_base) == (KEPT in card)
    assert ("base, which stays as it is" in card) == method.keeps_base
    assert "| overlapping modality | text |" in card and ("`train.batch_size` | 16" in card) == bool(method.objective)
    if method.pairs == "texts":
        assert "It learned from 64 unpaired captions" in page
        return
    if method.pairs == "none":
        assert "no partner is made and nothing is trained" in page and "history.parquet" not in missing(page)
        return
    # Examples of pairs are found in their corpora: what lies there as a picture is one, what lies there as a sound sounds.
    html = Path("data/reports/index.html").read_text()
    pairs = html[html.index('id="pairs"') : html.index('id="accounting"')]
    assert 'alt="Picture photos-' in pairs and 'alt="Spectrogram of the sound sounds-' in pairs and "<audio" in pairs
    assert ("<blockquote>" in pairs) == (method.pairs == "averaged")
    assert pairs.count("<blockquote>") == pairs.count("<blockquote>there is")


def check_plan(method: Method, said: str) -> None:
    """The plan knew the bytes that came out: embeddings, and the partners that were drawn."""
    [line] = [line for line in said.splitlines() if line.startswith(f"retrieve {FIRST}: ")]
    assert "kB" in line and "GFLOP" in line and "unknown" not in line
    connection = load_params(Path("params.yaml")).connections[FIRST]
    [link] = connection.links(FIRST)
    sizes = Sizes(
        ROWS if link.queries else 0, dict.fromkeys(WIDTHS, ROWS), WIDTHS, getattr(connection.retrieve, "draws", 1)
    )
    written = 0
    for name in link.sets:
        for _, rows in Store.open(Path("data/pairs") / link.place / name, PAIRS).parts():
            written += sum(vectors.nbytes for vectors in rows.vectors.values())
            written += sum(column.nbytes for name, column in rows.numbers.items() if "_draw_" in name)
    assert cost_of(link, method.pairs, sizes).bytes == written


@pytest.mark.parametrize("method", [method for method in BUILT_IN if method.sets], ids=lambda method: method.name)
def test_every_method_walks_from_the_parameters_to_the_page(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = walk(method.name)
    assert "params.yaml is valid" in said
    check_plan(method, said)
    check_pages(method, method.label)
    place = f"{FIRST}/{'clap' if method.keeps_base or method.joint else 'clip-clap'}"
    assert {path.parent.name for path in (Path("data/pairs") / place).glob("*/_manifest.json")} == set(method.sets)
    model = Path("data/models") / (FIRST if method.joint else place)
    assert (model / "projector.safetensors").is_file() == bool(method.objective)
    assert check_model(Path("data/models") / FIRST, Path("data/pairs")).state is State.SOUND


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder in which both made-up methods have walked, in a process that finds their packages as installed ones."""
    folder = tmp_path_factory.mktemp("others")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PLUGIN)))}
    command = [sys.executable, "-m", "tests.makers.walk", "nearest", "landmarks"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def installed(monkeypatch):
    """The made-up packages in this process."""
    monkeypatch.syspath_prepend(PLUGIN)
    module.methods.cache_clear()
    yield
    monkeypatch.undo()
    module.methods.cache_clear()


def test_a_method_of_another_package_walks_the_same_way(walked, installed, monkeypatch):
    """One record, one file for its pairs, one for its objective; nothing of ours knows its name."""
    monkeypatch.chdir(walked / "nearest")
    printed = Path("printed.txt").read_text()
    assert "retrieve main: " in printed and "train main/clip-clap: in 64 = 64 used" in printed
    assert {"nearest", "landmarks"} < set(methods())
    check_pages(method_called("nearest"), "Nearest neighbours")
    made = json.loads(Path("data/models/main/config.json").read_text())["plugin"]
    assert (made["package"], made["version"], made["code"]) == ("nearest", "1.0", "nearest.record:NEAREST")
    assert Store.open(Path("data/pairs/main/clip-clap/hops"), PAIRS).manifest.fingerprint["plugin"] == made
    code = [path.name for path in sorted((PLUGIN / "nearest").glob("*.py")) if path.stat().st_size]
    assert code == ["objective.py", "pairs.py", "record.py"]
    # Each sample of the first memory stands beside a sample of the second one, through the caption nearest to both.
    rows = Store.open(Path("data/pairs/main/clip-clap/hops"), PAIRS).read()
    stores = {
        (space, kind): Store.open(Path("data/embeddings") / space / corpus / kind).read().vectors["embedding"]
        for space, kinds in MODALITIES.items()
        for kind, corpus in zip(kinds, ("captions", "photos" if space == "clip" else "sounds"), strict=True)
    }
    for own, partner in zip(rows.vectors["clip_image"][:5], rows.vectors["clap_audio"][:5], strict=True):
        caption = int(np.argmax([float(own @ text) for text in stores["clip", "text"]]))
        sound = int(np.argmax([float(stores["clap", "text"][caption] @ one) for one in stores["clap", "audio"]]))
        np.testing.assert_array_equal(partner, stores["clap", "audio"][sound])


def test_a_method_in_the_projects_folder_walks_to_the_same_numbers(walked, installed, tmp_path, monkeypatch):
    """The same files in `plugins/`, in a process that finds no package of that name."""
    folder = tmp_path / "nearest" / "plugins"
    shutil.copytree(PLUGIN / "nearest", folder / "nearest")
    shutil.copy(PLUGIN / "nearest-1.0.dist-info/entry_points.txt", folder)
    command = [sys.executable, "-m", "tests.makers.walk", "nearest"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    method = method_called("nearest")
    monkeypatch.chdir(tmp_path / "nearest")
    check_pages(method, "Nearest neighbours")
    made = json.loads(Path("data/models/main/config.json").read_text())["plugin"]
    assert (made["package"], made["version"], made["code"]) == ("plugins/", "", "nearest.record:NEAREST")
    assert f"method nearest plugins/ {made['source']}" in spaced(Path("data/reports/index.html").read_text())
    for path in ("data/metrics/metrics.parquet", "data/models/main/clip-clap/projector.safetensors"):
        assert Path(path).read_bytes() == (walked / "nearest" / path).read_bytes()


def test_without_its_package_a_method_is_none_of_the_known_ones(walked):
    known = ", ".join(method.name for method in BUILT_IN)
    with pytest.raises(UserError, match=f"connections.main.method = 'nearest': is none of {known}"):
        load_params(walked / "nearest" / "params.yaml")


def test_a_method_may_train_nothing_and_have_coordinates_of_its_own(walked, installed, monkeypatch):
    monkeypatch.chdir(walked / "landmarks")
    assert "train main/clip-clap: in 64 kept, nothing is trained" in Path("printed.txt").read_text()
    check_pages(method_called("landmarks"), "Landmarks")
    space = ConnectedSpace.load("data/models/main")
    assert space.dimension == ROWS and not space.config.projectors
    images, texts = (
        Store.open(Path(f"data/embeddings/clip/{name}")).read().vectors["embedding"]
        for name in ("photos/image", "captions/text")
    )
    expected = images.astype(np.float64) @ texts.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(space.project("clip", images), expected, atol=1e-5)
    (Path("data/models/main/clip-clap") / "landmarks.safetensors").write_bytes(b"?")
    with pytest.raises(CorruptError, match="not the file that was trained"):
        ConnectedSpace.load("data/models/main")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mine", "pipeline.nowhere:MINE", "cannot be loaded"),
        ("mine", "pipeline.plugins:METHODS", "is not a `Method`"),
        ("mine", "pipeline.methods:CMCR", "is not a `Method` of that name"),
        ("cmcr", "pipeline.methods:CMCR", "name of a built-in one"),
    ],
)
def test_a_package_whose_method_cannot_be_used_is_named(monkeypatch, name, value, message):
    monkeypatch.setattr(plugged, "installed", lambda group, path: [EntryPoint(name, value, group)])
    methods.cache_clear()
    try:
        with pytest.raises(UserError, match=message):
            methods()
    finally:
        monkeypatch.undo()
        methods.cache_clear()


def test_an_unknown_method_gets_the_nearest_name():
    with pytest.raises(UserError, match="no method 'cmrc'") as error:
        method_called("cmrc")
    assert "'cmcr'" in error.value.hint
    assert replace(CMCR, pairs="true").is_bound and not CMCR.is_bound


def test_nothing_but_the_records_asks_for_a_method_by_its_name():
    # "imported" is also what fingerprints call embeddings that others made.
    names = "|".join(method.name for method in BUILT_IN if method.name not in {*BASELINES, "imported"})
    command = ["git", "grep", "-nE", f'"({names})"', "--", "pipeline", "stages"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert {line.split(":")[0] for line in found} == {"pipeline/methods.py"}, found
