"""A fifth modality: declared in params.yaml, embedded by an encoder of another package, from raw files to the page."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from pipeline.errors import UserError
from pipeline.modalities import declared_modality, modality_of
from pipeline.params.load import check_params
from pipeline.shard.settings import CorpusSettings
from pipeline.store import EMBEDDINGS, Store
from tests.report.test_page import Page
from tests.stages.tools.tools_project import make_project

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
ROWS = 40
COMMANDS = (
    "inputs", "check", "shard captions", "shard photos", "shard surfaces", "shard heldout",
    "encode --space clip", "encode --space touch", "plan --probe 1", "verify",
    "retrieve main", "train main", "evaluate", "report",
)  # fmt: skip


def picture(number: int) -> bytes:
    """A picture of random colours."""
    pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def parameters() -> dict[str, Any]:
    corpora = {"captions": ["text"], "photos": ["image"], "surfaces": ["tactile"], "heldout": ["image", "tactile"]}
    jobs = {"clip": ("captions", "photos", "heldout"), "touch": ("captions", "surfaces", "heldout")}
    memories = {
        "clip": {"modality": "image", "corpora": ["photos"]},
        "touch": {"modality": "tactile", "corpora": ["surfaces"]},
    }
    task = {"task": "retrieval", "corpus": "heldout", "modalities": ["tactile", "image"], "connections": ["main"]}
    return {
        "seed": 0,
        "threads": 1,
        "modalities": {"tactile": "*.touch.png"},
        "corpora": {name: {"modalities": kinds, "source": f"data/raw/{name}"} for name, kinds in corpora.items()},
        "spaces": {name: {"encoder": e, "checkpoint": f"data/spaces/{name}"} for name, e in (("clip", "compact"), ("touch", "touch"))},
        "encode": {f"{space}-{name}": {"space": space, "corpus": name} for space, names in jobs.items() for name in names},
        "connections": {
            "main": {
                "method": "cmcr",
                "join": {"spaces": ["clip", "touch"], "overlap": "text", "queries": ["captions"], "memories": memories},
                "retrieve": {},
                "train": {"epochs": 1, "batch_size": 16, "projector": {"hidden": 6, "dimension": 8}},
            }
        },
        "evaluate": {"bootstrap": 20, "examples": 2, "tasks": {"held_out": task}},
        "report": {"pseudo_pairs": 6},
    }  # fmt: skip


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that went from raw files to the page, in a process that finds the encoder's package as an installed one."""
    root = make_project(tmp_path_factory.mktemp("touch"))
    raw = root / "data/raw"
    for corpus in ("captions", "photos", "surfaces", "heldout"):
        (raw / corpus).mkdir(exist_ok=True)
        for old in (raw / corpus).iterdir():
            old.unlink()
    for number in range(ROWS):
        (raw / f"captions/c{number:03d}.txt").write_text(f"a photo number {number % 25}")
        for corpus, seed in (("photos", 100), ("heldout", 300)):
            (raw / f"{corpus}/h{number:03d}.png").write_bytes(picture(seed + number))
        for corpus, seed in (("photos", 200), ("surfaces", 400), ("heldout", 500)):  # among the photos, it is not read
            (raw / f"{corpus}/h{number:03d}.touch.PNG").write_bytes(picture(seed + number))
    (raw / "surfaces/broken.touch.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (raw / "surfaces/notes.touch.png").write_bytes(b"no picture")
    (root / "data/spaces/touch").mkdir()
    letters = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"letters": letters}, root / "data/spaces/touch/w.safetensors")
    params = parameters() | {"limits": {"max_rejected": 0.1}}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PLUGIN)))}
    script = (
        "import sys; from stages.cli import app\nfor line in sys.argv[1:]: app(line.split(), standalone_mode=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *COMMANDS], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (root / "printed.txt").write_text(done.stdout)
    return root


def test_shards_hold_it_beside_the_others(walked: Path) -> None:
    with tarfile.open(walked / "data/shards/heldout/00000.tar") as tar:
        names = tar.getnames()
        member = tar.extractfile("h003.tactile.png")
        assert member and member.read() == picture(503)
    assert names[:2] == ["h000.png", "h000.tactile.png"] and len(names) == 2 * ROWS
    with tarfile.open(walked / "data/shards/photos/00000.tar") as tar:
        assert tar.getnames() == [f"h{number:03d}.png" for number in range(ROWS)]
    rejects = pd.read_parquet(walked / "data/shards/surfaces/_failures.parquet")
    assert list(rejects.key) == ["notes"]


def test_the_encoder_of_the_package_embeds_it(walked: Path) -> None:
    rows = Store.open(walked / "data/embeddings/touch/heldout/tactile", EMBEDDINGS).read()
    weights = safetensors.torch.load_file(walked / "data/spaces/touch/w.safetensors")["letters"].double().numpy()
    for number, (key, row) in enumerate(zip(rows.keys, rows.vectors["embedding"], strict=True)):
        grey = Image.open(io.BytesIO(picture(500 + number))).convert("L").resize((16, 16))
        expected = np.asarray(grey, np.float64).reshape(-1) / 255 @ weights
        assert key == f"h{number:03d}"
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)
    assert {path.name for path in (walked / "data/embeddings/touch/heldout").iterdir() if path.is_dir()} == {"tactile"}


def test_the_page_shows_it(walked: Path) -> None:
    metrics = pd.read_parquet(walked / "data/metrics/metrics.parquet")
    assert {"tactile->image", "image->tactile"} <= set(metrics.direction)
    html = (walked / "data/reports/index.html").read_text()
    assert "(text, tactile)" in Page(html).text
    pairs = html[html.index('id="pairs"') : html.index('id="accounting"')]
    assert pairs.count("<img") >= 4 and "no preview" not in html and "cannot be decoded" not in html


def test_a_mistake_in_the_section_is_explained() -> None:
    def problems(**changes: Any) -> str:
        with pytest.raises(UserError) as error:
            check_params(parameters() | changes, "params.yaml")
        return error.value.message

    assert "modalities.image: is a modality already" in problems(modalities={"tactile": "*.t.png", "image": "*.jpg"})
    for name, pattern in (
        ("tactile", "touch.png"),
        ("tactile", "*.to uch"),
        ("tactile", "*"),
        ("Tac-tile", "*.png"),
        ("tactile", 3),
    ):
        assert f"modalities.{name}" in problems(modalities={"tactile": "*.t.png", name: pattern})
    said = problems(modalities={"tactil": "*.touch.png"})
    assert "corpora.surfaces.modalities.0 = 'tactile'" in said and "did you mean 'tactil'?" in said
    assert "did you mean" not in problems(modalities={}) and "'tactile'" in problems(modalities={})
    with pytest.raises(ValueError, match="'text', 'image', 'audio' or 'point'"):
        CorpusSettings(source="x", modalities=("tactile",))


DECLARED = (("tactile", "touch.png"), ("depth", "npy"), ("imu", "imu"))


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("a/x.touch.png", ("image",), "tactile"),
        ("X.TOUCH.PNG", ("tactile",), "tactile"),
        ("touch.png", ("tactile",), ""),
        (".touch.png", ("tactile",), ""),
        ("x.png", ("tactile",), ""),
        ("x.npy", ("point",), ""),  # ours, unless the corpus wants the declared one
        ("x.npy", ("depth",), "depth"),
        ("x.imu", ("image",), "imu"),
    ],
)
def test_a_file_of_a_source_has_one_modality(name: str, wanted: tuple[str, ...], expected: str) -> None:
    assert declared_modality(name, DECLARED, wanted)[0] == expected


def test_a_member_of_a_shard_has_one_modality() -> None:
    found = {end: modality_of(end) for end in ("png", "txt", "flac", "npy", "tactile.png", "depth.npy", "xyz")}
    assert list(found.values()) == ["image", "text", "audio", "point", "tactile", "depth", ""]
