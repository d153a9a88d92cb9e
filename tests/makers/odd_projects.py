"""Projects whose data lie in odd places, each with one corpus of pictures and one small space."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from dvc.repo import Repo

from pipeline.spaces.compact.space import CompactModel, save_compact
from pipeline.spaces.compact.towers import ImageSettings, TextSettings
from tests.conftest import png
from tests.shard.makers import tar

ROOT = Path(__file__).parents[2]
PICTURES = 4


@dataclass
class Odd:
    """A project before anything odd was done to it.

    Attributes:
        root: The project's folder: as a fresh clone, with git and DVC.
        disk: A folder on "another disk".
        address: Where `disk` is served over HTTP.
        params: What params.yaml will say.
    """

    root: Path
    disk: Path
    address: str
    params: dict[str, Any]

    @property
    def corpus(self) -> dict[str, Any]:
        return self.params["corpora"]["c"]

    def move(self, name: str) -> Path:
        """Move a folder of the project to the other disk and leave a link; where it is now."""
        there = self.disk / name.replace("/", "-")
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        if (self.root / name).exists():
            shutil.move(self.root / name, there)
        else:
            there.mkdir(parents=True)
        (self.root / name).symlink_to(there)
        return there

    def write(self) -> None:
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))


def pictures(folder: Path) -> Path:
    """A few pictures in `folder`; the path of one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(PICTURES):
        (folder / f"p{number}.png").write_bytes(png(number))
    return folder / "p0.png"


def tars(folder: Path, first: int = 0) -> Path:
    """Two tars of two pictures each in `folder`; the path of one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        tar(folder / f"{number}.tar", [(f"t{number}{one}.png", png(first + 10 * number + one)) for one in range(2)])
    return folder / "1.tar"


@functools.cache
def _weights() -> dict[str, bytes]:
    import tempfile

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        save_compact(Path(folder), CompactModel(12, {"text": TextSettings(("a", "b")), "image": ImageSettings()}))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def weights(folder: Path) -> Path:
    """The space in `folder`; the path of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _weights().items():
        (folder / name).write_bytes(content)
    return folder / "weights.safetensors"


def make(root: Path, disk: Path, address: str) -> Odd:
    """A plain project in `root`."""
    for folder in (root, disk):
        folder.mkdir(parents=True)
    for name in ("pipeline", "stages"):
        (root / name).symlink_to(ROOT / name)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "data/annotations/.gitkeep", "data/spaces/.gitkeep",
                 "data/sweeps/tables/.gitkeep"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    with Repo.init(str(root)):
        pass
    pictures(root / "data/raw/c")
    weights(root / "data/spaces/clip")
    params = {
        "seed": 0,
        "threads": 1,
        "corpora": {"c": {"modalities": ["image"], "source": "data/raw/c"}},
        "limits": {"max_rejected": 0.5},
        "spaces": {"clip": {"encoder": "compact", "checkpoint": "data/spaces/clip"}},
        "encode": {"clip-c": {"space": "clip", "corpus": "c"}},
        "connections": {},
        "evaluate": {"tasks": {}},
        "report": {},
    }
    return Odd(root, disk, address, params)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder` over HTTP on the loopback interface; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


Change = Callable[[Odd], Path | None]
"""Does something odd; returns the file whose change must be noticed, None where nothing is to be changed."""


def _source(place: str, make_files: Callable[[Path], Path] = pictures, folder: str = "") -> Change:
    """A corpus at `place`, in which {root}, {disk} and {address} stand for these."""

    def change(odd: Odd) -> Path:
        shown = {"root": odd.root, "disk": odd.disk, "address": odd.address}
        file = make_files(
            Path((folder or place).format(**shown)) if "{" in (folder or place) else odd.root / (folder or place)
        )
        odd.corpus["source"] = place.format(**shown).replace("<", "{").replace(">", "}")
        return file

    return change


def _manifest(odd: Odd) -> Path:
    file = pictures(odd.disk / "im")
    (odd.root / "lists").mkdir()
    rows = "".join(f"k{number},p{number}.png\n" for number in range(PICTURES))
    (odd.root / "lists/m.csv").write_text(f"key,path\n{rows}")
    odd.corpus.update({"source": "lists/m.csv", "files": os.path.relpath(odd.disk / "im", odd.root / "lists")})
    return file


def _several_places(odd: Odd) -> Path:
    """The second place is a tar behind an address, and changes."""
    file = tars(odd.disk / "t")
    odd.corpus["source"] = ["data/raw/c", f"{odd.address}/t/{file.name}"]
    return file


def _single(odd: Odd) -> Path:
    odd.corpus["source"] = "data/raw/c/p0.png"
    return odd.root / "data/raw/c/p0.png"


def _second_folder(odd: Odd) -> Path:
    file = pictures(odd.disk / "more")
    for path in list((odd.disk / "more").iterdir()):
        path.rename(path.with_name(f"more-{path.name}"))
    odd.corpus["source"] = ["data/raw/c", os.path.relpath(odd.disk / "more", odd.root)]
    return file.with_name(f"more-{file.name}")


def _linked_subfolder(odd: Odd) -> Path:
    file = pictures(odd.disk / "train")
    shutil.rmtree(odd.root / "data/raw/c")
    (odd.root / "data/raw/c").mkdir()
    (odd.root / "data/raw/c/train").symlink_to(odd.disk / "train")
    return file


def _linked(name: str, file: str) -> Change:
    return lambda odd: odd.move(name) / file


def _checkpoint(place: str) -> Change:
    def change(odd: Odd) -> Path:
        where = place.format(disk=odd.disk, up=os.path.relpath(odd.disk, odd.root))
        found = weights(odd.root / where)
        odd.params["spaces"]["clip"]["checkpoint"] = where
        shutil.rmtree(odd.root / "data/spaces/clip")
        return found

    return change


def _without_git(odd: Odd) -> Path:
    shutil.rmtree(odd.root / ".git")
    with (odd.root / ".dvc/config").open("a") as config:
        config.write("[core]\n    no_scm = true\n")
    odd.move("data")
    return odd.disk / "data/raw/c/p0.png"


def _cache_of_links(odd: Odd) -> Path:
    with (odd.root / ".dvc/config").open("a") as config:
        config.write("[cache]\n    type = symlink\n")
    return odd.root / "data/raw/c/p0.png"


def _two_corpora(odd: Odd) -> Path:
    file = pictures(odd.disk / "more")
    odd.params["corpora"]["3d-x_Y"] = {"modalities": ["image"], "source": str(odd.disk / "more")}
    odd.params["encode"]["second"] = {"space": "clip", "corpus": "3d-x_Y"}
    return file


def _dangling(odd: Odd) -> Path:
    (odd.root / "data/raw/c/late.png").symlink_to(odd.disk / "late.png")
    return odd.disk / "late.png"


def _set(**more: Any) -> Change:
    def change(odd: Odd) -> None:
        for place, value in more.items():
            target = odd.params
            *parents, last = place.split("__")
            for parent in parents:
                target = target[parent]
            target[last] = value

    return change


def _removed(name: str) -> Change:
    def change(odd: Odd) -> None:
        shutil.rmtree(odd.root / name)

    return change


def _emptied(odd: Odd) -> None:
    for path in (odd.root / "data/raw/c").iterdir():
        path.unlink()


def _half_a_space(odd: Odd) -> None:
    (odd.root / "data/spaces/clip/weights.safetensors").unlink()


def _moved(name: str) -> Change:
    def change(odd: Odd) -> None:
        odd.move(name)

    return change


def _labelled(odd: Odd) -> None:
    task = {"task": "retrieval", "corpus": "c", "modalities": ["image", "text"], "space": "clip"}
    odd.params["evaluate"]["tasks"]["t"] = task | {"labels": {"table": "classes.csv"}}


# Everything is found, and a change of the file is noticed.
FOUND: dict[str, Change] = {
    "a plain folder": lambda odd: odd.root / "data/raw/c/p0.png",
    "a pattern": _source("data/raw/t/*.tar", tars, "data/raw/t"),
    "braces": _source("data/raw/t/<0..1>.tar", tars, "data/raw/t"),
    "a pattern of folders": _source("data/raw/im?", pictures, "data/raw/im1"),
    "a deep pattern": _source("data/raw/d/**/*.png", pictures, "data/raw/d/e/f"),
    "outside of the project": _source("{disk}/pictures"),
    "above the project": _source("../disk/pictures", pictures, "../disk/pictures"),
    "an address of this machine": _source("file://{disk}/pictures", pictures, "{disk}/pictures"),
    "a file behind an address": _source("{address}/1.tar", tars, "{disk}"),
    "braces behind an address": _source("{address}/t/<0..1>.tar", tars, "{disk}/t"),
    "spaces and quotes": _source("data/raw/my 'pics' (1) & \"more\""),
    "other letters": _source("data/raw/bücher/猫"),
    "a hash and a dollar": _source("data/raw/#1 $HOME"),
    "a manifest of files elsewhere": _manifest,
    "several places": _several_places,
    "several folders, one above the project": _second_folder,
    "a single picture": _single,
    "a linked subfolder": _linked_subfolder,
    "a linked corpus": _linked("data/raw/c", "p0.png"),
    "linked raw data": _linked("data/raw", "c/p0.png"),
    "linked annotations": lambda odd: (odd.move("data/annotations"), odd.root / "data/raw/c/p0.png")[1],
    "linked spaces": _linked("data/spaces", "clip/weights.safetensors"),
    "a linked space": _linked("data/spaces/clip", "weights.safetensors"),
    "a checkpoint elsewhere": _checkpoint("{disk}/clip"),
    "a checkpoint above": _checkpoint("{up}/clip"),
    "a checkpoint with spaces": _checkpoint("weights of 'mine'"),
    "a checkpoint under another name": _checkpoint("data/spaces/ViT-B_32"),
    "all data on another disk, without git": _without_git,
    "a cache of links": _cache_of_links,
    "two corpora": _two_corpora,
    "a link to nowhere yet": _dangling,
    "an older text": lambda odd: (odd.params.update(seed=1e0), odd.root / "data/raw/c/p0.png")[1],
}
# `check` or `doctor` says this, and `dvc repro` would have failed.
TOLD: dict[str, tuple[Change, str]] = {
    "no such folder": (_set(corpora__c__source="data/raw/none"), "does not exist"),
    "no such pattern": (_set(corpora__c__source="data/raw/c/*.tar"), "does not exist"),
    "one of several places is missing": (_set(corpora__c__source=["data/raw/c", "data/raw/none"]), "does not exist"),
    "a file in two places": (_set(corpora__c__source=["data/raw/c", "data/raw/c/p0.png"]), "is in data/raw/c and in"),
    "an empty folder": (_emptied, "is empty"),
    "an address without its package": (_set(corpora__c__source="abfs://container/c.tar"), "adlfs"),
    "another one": (_set(corpora__c__source="gs://bucket/c.tar"), "gcsfs"),
    "an address that nobody knows": (_set(corpora__c__source="foo://bucket/c.tar"), "foo"),
    "an address that nobody answers": (_set(corpora__c__source="http://127.0.0.1:9/c.tar"), "cannot be reached"),
    "no git": (_removed(".git"), "dvc config core.no_scm true"),
    "no DVC": (_removed(".dvc"), "dvc init"),
    "data on another disk": (_moved("data"), "outside of the git repository"),
    "results on another disk": (_moved("data/embeddings"), "outside of the git repository"),
    "results of one corpus on another disk": (_moved("data/shards/c"), "does not see when something behind it changes"),
    "a link among annotations": (_moved("data/annotations/boxes"), "does not see when something behind it changes"),
    "a space without a job": (_set(encode={}), "no job in `encode`"),
    "no weights": (_removed("data/spaces/clip"), "does not exist"),
    "a space without its weights": (_half_a_space, "weights.safetensors"),
    "no annotations": (_removed("data/annotations"), "data/annotations is not there"),
    "a table that is missing": (_labelled, "classes.csv does not exist"),
    "a section that is missing": (lambda odd: odd.params.pop("limits") and None, "has no limits"),
    "a name with a dot": (lambda odd: odd.params["corpora"].update({"a.b": odd.corpus}), "write a-b"),
    "a name that is a number": (lambda odd: odd.params["corpora"].update({"12": odd.corpus}), "write a word"),
}
