"""From `mcr init` to the page for every recipe, with small weights in the real formats behind a hub on loopback.

What cannot be tried here, the public weights themselves, differs from this in nothing but numbers: the repositories, file
names and layouts are those of the recipes, and only the pinned sizes and hashes are taken out.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.prepare.stamps import STAMPS
from tests.end_to_end.test_own_data import caption, picture, sound
from tests.fetch.hub import Hub, serve
from tests.makers.project import ROOT, Project
from tests.spaces.laion_clap.make_tokenizers import REVISION, offline_hub
from tests.spaces.laion_clap.test_laion_clap import Pair
from tests.spaces.open_clip.test_open_clip import save_folder, tiny
from tests.spaces.transformers.make_models import make_clap
from tests.spaces.ulip2.test_ulip2 import random_tensors, save

pytestmark = pytest.mark.slow  # minutes
PRESETS = ["first-light", "cmcr-audio-image", "cmcr-point-text", "exmcr"]


class Walk(Project):
    """A clone that reaches a hub on loopback, or nothing at all."""

    hub: str = ""

    @property
    def environment(self) -> dict[str, str]:
        online = {"HF_ENDPOINT": self.hub, "HF_HUB_OFFLINE": "0"}
        offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
        home = {"HF_HOME": str(self.folder / "data" / "home"), "TRANSFORMERS_OFFLINE": str(int(not self.hub))}
        return super().environment | home | (online if self.hub else offline)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Files of every repository that a recipe names, by repository and path."""
    root = tmp_path_factory.mktemp("published")
    return {
        "timm/vit_base_patch32_clip_224.openai": _open_clip(root / "clip"),
        **_laion_clap(root),
        "laion/clap-htsat-fused": {path.name: path.read_bytes() for path in make_clap(root / "fused", True).iterdir()},
        "datasets/SFXX/ulip": {
            "ULIP-2/pretrained_models/ULIP-2-PointBERT-8k-xyz-pc-slip_vit_b-objaverse-pretrained.pt": _ulip(
                root / "ulip"
            )
        },
        "datasets/yerevann/coco-karpathy": {"data/validation-00000-of-00001.parquet": _captions()},
        "datasets/clip-benchmark/wds_flickr8k": {"train/0.tar": _pictures()},
        "datasets/ashraq/esc50": {"data/train-00000-of-00002-2f1ab7b824ec751f.parquet": _sounds()},
    }


def _open_clip(folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    save_folder(folder, tiny(), quick_gelu=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _laion_clap(root: Path) -> dict[str, dict[str, bytes]]:
    if find_spec("laion_clap") is None:
        return {}
    (root / "clap").mkdir()
    with offline_hub(root / "home"):
        weights = Pair(root / "clap", fusion=True).path.read_bytes()
    tokenizer = root / "home" / "hub" / "models--roberta-base" / "snapshots" / REVISION
    names = ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json")
    return {
        "lukewys/laion_clap": {"630k-fusion-best.pt": weights},
        "FacebookAI/roberta-base": {name: (tokenizer / name).read_bytes() for name in names},
    }


def _ulip(folder: Path) -> bytes:
    folder.mkdir()
    return save(folder, random_tensors()).read_bytes()


def _captions() -> bytes:
    rows = [[caption(number), caption(number + 1)] for number in range(40)]
    columns = {"filename": [f"{number}.jpg" for number in range(40)], "cocoid": list(range(40)), "sentences": rows}
    return _parquet(columns)


def _sounds() -> bytes:
    audio = [{"bytes": sound(number), "path": None} for number in range(30)]
    names = [f"1-{number}-A-0.wav" for number in range(30)]
    return _parquet({"filename": names, "fold": [1] * 30, "category": ["dog"] * 30, "audio": audio})


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _pictures() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(40):
            for ending, content in (("jpg", picture(number)), ("txt", b"one\ntwo\nthree\nfour\nfive")):
                member = tarfile.TarInfo(f"s{number:07d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def hub_of(published: dict[str, dict[str, bytes]], entries: dict[str, list[dict[str, Any]]]) -> Iterator[Hub]:
    with serve() as hub:
        for entry in (entry for part in entries.values() for entry in part):
            name = f"{'datasets/' * (entry.get('kind') == 'dataset')}{entry['repository']}"
            commit = entry["revision"] if len(entry["revision"]) == 40 else "d" * 40
            hub.add(name, published[name], commit)
        yield hub


def put_raw_data(project: Walk) -> None:
    """What a recipe leaves to the user: a few samples of each corpus that is not fetched."""
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    fetched = {entry["to"] for part in params["fetch"].values() for entry in part}
    if "tuxpaint-image" in params["corpora"]:
        _write_stamps(project.folder / "downloads" / "tuxpaint")
        project.run("mcr", "prepare", "tuxpaint", "downloads/tuxpaint")
    for index, (name, corpus) in enumerate(params["corpora"].items()):
        place = project.folder / corpus["source"]
        if name.startswith("tuxpaint") or str(Path(corpus["source"]).parent) in fetched:
            continue
        if corpus["modalities"] == ["text"]:
            rows = [json.dumps({"key": f"t{number}", "text": caption(number)}) for number in range(40)]
            place.write_text("\n".join(rows))
            continue
        for number in range(12 if len(corpus["modalities"]) > 1 else 24):
            for modality in corpus["modalities"]:
                _put(place / f"{name}{number}", modality, 100 * index + number)  # no sample is in two corpora


def _put(stem: Path, modality: str, number: int) -> None:
    if modality == "point":
        np.save(stem.with_suffix(".npy"), np.random.default_rng(number).random((1500, 3), np.float32))
    else:
        ending, content = {
            "image": (".jpg", picture(number)),
            "audio": (".wav", sound(number)),
            "text": (".txt", caption(number).encode()),
        }[modality]
        stem.with_suffix(ending).write_bytes(content)


def _write_stamps(root: Path) -> None:
    """The layout of Tux Paint's package."""
    animals = root / STAMPS / "animals" / "many"
    animals.mkdir(parents=True)
    for number in range(12):
        (animals / f"animal{number}.png").write_bytes(_png(number))
        (animals / f"animal{number}.txt").write_text(f"Animal {number}.\n")
        (animals / f"animal{number}.wav").write_bytes(sound(number))


def _png(number: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(number))).convert("RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def small(params: dict[str, Any]) -> None:
    """The recipe with batches that a few samples fill, and without the sizes and hashes of the real files."""
    for connection in params["connections"].values():
        connection["train"].update(epochs=2, batch_size=8)
        for leaf in connection["join"].get("leaves", {}).values():
            leaf.get("train", {}).update(epochs=2)
    for entry in (entry for part in params["fetch"].values() for entry in part):
        entry["files"] = {
            name: {key: value for key, value in file.items() if key == "optional"}
            for name, file in entry["files"].items()
        }


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
@pytest.mark.parametrize("preset", PRESETS)
def test_from_the_recipe_to_the_page(
    preset: str, offline: bool, published: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    recipe = yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text())
    if "laion_clap" in {space["encoder"] for space in recipe["spaces"].values()} and not find_spec("laion_clap"):
        pytest.skip("the extra `clap` is not installed")
    project = Walk(tmp_path / "clone")
    said = project.run("mcr", "init", preset)
    assert "mcr fetch" in said and "from the Hugging Face Hub" in said
    project.edit("params.yaml", small)
    with hub_of(published, recipe["fetch"]) as hub:
        project.hub = hub.url
        said = project.run("mcr", "fetch")
        assert said.count("fetched  data/") >= 2 and "everything is there" in said
        put_raw_data(project)
        if offline:
            project.hub = ""
        asked = len(hub.asked)
        said = project.run("mcr", "doctor", "--load")
        assert "can run here" in said and all(f"space {name}: loads" in said for name in recipe["spaces"])
        ran = project.repro()
        assert ran[0] == "inputs" and ran[-1] == "report"
        assert len(hub.asked) == asked, "what was fetched is not asked for again"
    page = (project.folder / "data" / "reports" / "index.html").read_text()
    assert recipe["report"]["title"] in page
    metrics = json.loads((project.folder / "data" / "metrics" / "metrics.json").read_text())
    assert metrics
    assert project.repro() == ["inputs"], "nothing changed"
