"""The three kinds of address that need no account: a bucket of a server on this machine, a folder, and memory."""

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.makers.s3_server import Bucket


class Place:
    """An address, and what lies there as seen from outside."""

    def __init__(self, kind: str, tmp_path: Path, bucket: Bucket | None) -> None:
        self.folder, self.bucket = tmp_path / "elsewhere", bucket
        self.address = {"s3": "s3://bucket/x", "file": f"file://{self.folder}", "memory": "memory://x"}[kind]
        self.kind = kind
        MemoryFileSystem.store.clear()

    def contents(self) -> dict[str, bytes]:
        if self.kind == "s3":
            assert self.bucket
            return self.bucket.contents("x")
        if self.kind == "memory":
            return {name.removeprefix("/x/"): file.getvalue() for name, file in MemoryFileSystem.store.items()}
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }

    def write(self, name: str, content: bytes) -> None:
        if self.kind == "s3":
            assert self.bucket
            self.bucket.write(f"x/{name}", content)
        elif self.kind == "memory":
            MemoryFileSystem().pipe_file(f"/x/{name}", content)
        else:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

    def remove(self, name: str) -> None:
        if self.kind == "s3":
            assert self.bucket
            self.bucket.remove(f"x/{name}")
        elif self.kind == "memory":
            MemoryFileSystem().rm_file(f"/x/{name}")
        else:
            (self.folder / name).unlink()


@pytest.fixture(params=["s3", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MCR_CACHE", str(tmp_path / "cache"))
    return Place(request.param, tmp_path, request.getfixturevalue("bucket") if request.param == "s3" else None)
