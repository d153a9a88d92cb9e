"""A method, an encoder, a kind of source and a modality that are no part of this program, through `dvc repro` to the page."""

import io
import json
import os
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from pipeline.store import EMBEDDINGS, Store
from tests.makers.project import Project
from tests.report.test_page import spaced
from tests.stages.tools.tools_project import make_project
from tests.test_modalities import ROWS, parameters, picture

PLUGIN = Path(__file__).parents[1] / "plugin"
SHEAVES = ("surfaces", "heldout")
# Seeds of their pictures.
SURFACES, HELD_OUT = 400, 500
# What the parameters call them, and the package of each.
MADE_UP = {"source kind": ("sheaf", "sheaf"), "encoder": ("touch", "letters"), "method": ("nearest", "nearest")}


class ProjectWithPackages(Project):
    """A clone in an environment with the made-up packages."""

    @property
    def site(self) -> Path:
        """Where the packages are installed."""
        return self.folder.with_name("site")

    @property
    def environment(self) -> dict[str, str]:
        """Finds the packages as installed ones."""
        own = super().environment
        return {**own, "PYTHONPATH": os.pathsep.join([own["PYTHONPATH"], str(self.site)])}


def sheaf(corpus: str, keys: range) -> bytes:
    """Some samples of `corpus` in the made-up format."""
    content, seed = b"", SURFACES if corpus == "surfaces" else HELD_OUT
    for key in keys:
        members = {"tactile": picture(seed + key)}
        members |= {"image": picture(300 + key)} if corpus == "heldout" else {}
        for modality, member in members.items():
            content += f"{corpus[0]}{key:03d} {modality} png {len(member)}\n".encode() + member
    return content


def made_up_parameters() -> dict[str, Any]:
    raw = parameters() | {"limits": {"max_rejected": 0.1}}
    for corpus in SHEAVES:
        raw["corpora"][corpus]["kind"] = "sheaf"
    raw["connections"]["main"]["method"] = "nearest"
    return raw


def put_files(root: Path) -> None:
    """Raw data and weights; one surface is no picture, and one sheaf is cut off."""
    for number in range(ROWS):
        (root / f"data/raw/captions/c{number:03d}.txt").write_text(f"a photo number {number % 25}")
        (root / f"data/raw/photos/p{number:03d}.png").write_bytes(picture(100 + number))
    for corpus in SHEAVES:
        for name, keys in (("first", range(ROWS // 2)), ("second", range(ROWS // 2, ROWS))):
            (root / f"data/raw/{corpus}/{name}.sheaf").write_bytes(sheaf(corpus, keys))
    (root / "data/raw/surfaces/third.sheaf").write_bytes(b"notes tactile png 10\nno picture" + b"cut off\n")
    letters = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"letters": letters}, root / "data/spaces/touch/w.safetensors")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectWithPackages:
    """A clone in which `dvc repro` has run."""
    root = tmp_path_factory.mktemp("made-up")
    found = ProjectWithPackages(root / "clone")
    shutil.copytree(PLUGIN, found.site)
    with (found.folder / ".dvcignore").open("a") as file:
        file.write("/data/demo/dvc.yaml\n")
    shutil.copytree(make_project(root / "small") / "data/spaces/clip", found.folder / "data/spaces/clip")
    (found.folder / "data/spaces/touch").mkdir()
    for corpus in ("captions", "photos", *SHEAVES):
        (found.folder / "data/raw" / corpus).mkdir(parents=True)
    put_files(found.folder)
    (found.folder / "params.yaml").write_text(yaml.safe_dump(made_up_parameters(), sort_keys=False))
    ran = found.repro()
    assert {"inputs", "shard@surfaces", "encode@touch", "retrieve@main", "train@main", "evaluate", "report"} <= {*ran}
    return found


def source_of(package: Path) -> str:
    """The hash of a package's source: of its files' hashes by name, in JSON without spaces."""
    files = {
        path.relative_to(package).as_posix(): sha256(path.read_bytes()).hexdigest() for path in package.rglob("*.py")
    }
    return sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.slow  # 90 s
def test_the_page_says_what_they_are_and_shows_what_they_made(project: ProjectWithPackages) -> None:
    html = (project.folder / "data/reports/index.html").read_text()
    page = spaced(html)
    card = " ".join((project.folder / "data/reports/model_card.md").read_text().split())
    assert "Nearest neighbours joined the frozen spaces clip (text, image) and touch (text, tactile)" in page
    assert (
        "Look here" not in page
        and "nothing is averaged" in page
        and "main (nearest)" in page
        and "Nearest neighbours" in card
    )
    for what, (name, package) in MADE_UP.items():
        source = source_of(project.site / package)
        assert f"{what} {name} {package} 1.0 {source}" in page, what
        assert f"| {what} | {name} | {package} 1.0 | {source} |" in card, what
    assert "shard surfaces 42 40 2 yes" in page and "encode touch/surfaces/tactile 40 40 0 yes" in page
    assert "line b'cut off" in page, "what the kind of source rejects is among the reasons"
    pairs = html[html.index('id="pairs"') : html.index('id="accounting"')]
    assert pairs.count("<img") >= 4 and "no preview" not in html and "cannot be decoded" not in html
    metrics = pd.read_parquet(project.folder / "data/metrics/metrics.parquet")
    assert {"tactile->image", "image->tactile"} <= set(metrics.direction)
    assert "nearest" in set(metrics.method) and metrics.value.notna().all()


@pytest.mark.slow  # 90 s
def test_what_they_made_is_right(project: ProjectWithPackages) -> None:
    data = project.folder / "data"
    for number in (0, 7, ROWS - 1):
        with tarfile.open(data / "shards/heldout/00000.tar") as tar:
            member = tar.extractfile(f"h{number:03d}.tactile.png")
            assert member and member.read() == picture(HELD_OUT + number)
    rows = Store.open(data / "embeddings/touch/heldout/tactile", EMBEDDINGS).read()
    assert rows.keys == [f"h{number:03d}" for number in range(ROWS)]
    weights = safetensors.torch.load_file(data / "spaces/touch/w.safetensors")["letters"].double().numpy()
    for number, row in enumerate(rows.vectors["embedding"]):
        grey = Image.open(io.BytesIO(picture(HELD_OUT + number))).convert("L").resize((16, 16))
        expected = np.asarray(grey, np.float64).reshape(-1) / 255 @ weights
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.slow  # 90 s
def test_a_change_of_their_code_runs_what_depends_on_it(project: ProjectWithPackages) -> None:
    assert project.repro() == ["inputs"]
    with (project.site / "sheaf/source.py").open("a") as file:
        file.write("# another one\n")
    ran = project.repro()
    assert {name for name in ran if name.startswith("shard")} == {"shard@surfaces", "shard@heldout"}
    assert "encode@clip" in ran and "train@main" not in ran, "the same bytes came out"
