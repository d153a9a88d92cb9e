"""Small real files that the tests share."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import SampleError
from pipeline.hashing import sha256_bytes

if TYPE_CHECKING:
    from tests.makers.s3_server import Bucket, Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, with a reason, where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU: torch sees none"))


class HashSpace:
    """A space whose embedding of some bytes is a random unit vector seeded by them: no two inputs look alike."""

    modalities = ("text", "image")
    dimension = 8

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.encoded: list[str] = []

    def fingerprint(self, modality: str) -> dict[str, object]:
        return {"family": "hash", "version": self.version, "modality": modality}

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        if b"bad" in payload:
            raise SampleError("decode", "the bytes say that they are bad")
        self.encoded.append(sha256_bytes(payload))
        seed = int(sha256_bytes(payload + bytes([self.version]))[:8], 16)
        vector = np.random.default_rng(seed).standard_normal(self.dimension)
        if b"zero" in payload:
            vector[:] = 0
        if b"nan" in payload:
            vector[3] = np.nan
        return torch.tensor(vector, dtype=torch.float32)

    def encode(self, modality: str, batch: Tensor) -> Tensor:
        return torch.nn.functional.normalize(batch, dim=-1)


@pytest.fixture
def hash_space() -> HashSpace:
    return HashSpace()


def png(value: int) -> bytes:
    """A 4 x 4 picture of one grey value."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value % 256, value // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 25 pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(25):
        (folder / f"p{number:03d}.png").write_bytes(png(number))
    return folder


@pytest.fixture
def tree_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Content of every file below a folder, by relative path."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="session")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, made once; not to be changed."""
    from tests.makers.small_project import make_small_project

    return make_small_project(tmp_path_factory.mktemp("small") / "project")


@pytest.fixture
def small_project(made_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small project, as the working directory."""
    copy = tmp_path / "project"
    shutil.copytree(made_project, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture(scope="session")
def one_s3_server() -> Iterator["Server"]:
    """The S3 server of all tests."""
    from tests.makers.s3_server import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(one_s3_server: "Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Server"]:
    """The S3 server, empty, with everything that its clients need in the environment; and a cache of this test's own."""
    import s3fs

    monkeypatch.setenv("MCR_CACHE", str(tmp_path / "cache"))
    for name, value in one_s3_server.environment.items():
        monkeypatch.setenv(name, value)
    one_s3_server.empty()
    s3fs.S3FileSystem.clear_instance_cache()
    yield one_s3_server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(s3: "Server") -> "Bucket":
    """An empty bucket on it: ``s3://bucket``."""
    from tests.makers.s3_server import Bucket

    return Bucket(s3)
