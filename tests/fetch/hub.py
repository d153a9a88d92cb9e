"""A small Hugging Face Hub on loopback: the requests that huggingface_hub makes to find and to get files.

Large files are answered as the hub answers them: the resolve address names their sha256, size and commit, and sends on
to another server. Small files come directly, with their git blob as ETag.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.fetch.uploads import TOKEN, Uploads

LARGE = 1000  # the real hub starts at 10 MB


@dataclass
class Repository:
    """Files of one repository by commit, and what its branches are.

    Attributes:
        commits: Files by path, by commit.
        branches: Commit by name.
        gated: Whether only those whose token is ``hf_let_me_in`` may read it.
    """

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False


class Hub:
    """The server, what it holds, and what goes wrong with it.

    Attributes:
        repositories: By ``owner/name``, data sets as ``datasets/owner/name``.
        cut: Bytes after which a transfer of the file with this name breaks off, once for each entry.
        served: Bytes of this content instead of the real ones, by file name.
        refused: Status and sentence of the answer to everything, where this is not None.
        asked: Every request: method, path and Range.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.cut: dict[str, list[int]] = {}
        self.served: dict[str, bytes] = {}
        self.refused: tuple[int, str] | None = None
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""
        self.uploads = Uploads(self)

    def add(self, name: str, files: dict[str, bytes], commit: str = "a" * 40, gated: bool = False) -> str:
        """Put `files` into the repository `name` as `commit`, which ``main`` then is."""
        repository = self.repositories.setdefault(name, Repository({}, gated=gated))
        repository.commits[commit] = files
        repository.branches["main"] = commit
        return commit


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub on a free port of the loopback address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        path, body = unquote(self.path).strip("/"), self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.asked.append(("POST", path, ""))
        if path != "api/validate-yaml" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "")
            return
        answer = self.hub.uploads.answer(path, body)
        kind = "application/vnd.git-lfs+json" if path.endswith("batch") else "application/json"
        self._send(404 if answer is None else 200, json.dumps(answer).encode(), {"Content-Type": kind})

    def do_PUT(self) -> None:
        self.hub.uploads.put(self.path.rpartition("/")[2], self.rfile.read(int(self.headers["Content-Length"])))
        self._send(200, b"", {})

    def _answer(self) -> None:
        path = unquote(self.path.split("?")[0]).strip("/")
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if self.hub.refused:
            self._refuse(self.hub.refused[0], "", {"X-Error-Message": self.hub.refused[1]})
        elif path.startswith("cdn/"):
            self._content(path.split("/")[-1], self.hub.served[path], {})
        elif path.startswith("api/"):
            self._api(path.removeprefix("api/").removeprefix("models/"))
        elif "/resolve/" in path:
            self._resolve(*path.split("/resolve/", 1))
        else:
            self._refuse(404, "")

    def _resolve(self, name: str, rest: str) -> None:
        revision, _, file = rest.partition("/")
        repository = self._allowed(name)
        if not repository:
            return
        commit = repository.branches.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif file not in files:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        elif len(files[file]) < LARGE:
            etag = {"ETag": f'"{git_blob(files[file])}"', "X-Repo-Commit": commit}
            self._content(file, self.hub.served.get(file, files[file]), etag)
        else:
            digest = hashlib.sha256(files[file]).hexdigest()
            place = f"cdn/{digest}/{file.split('/')[-1]}"
            self.hub.served[place] = self.hub.served.get(file, files[file])
            self._send(
                302,
                b"",
                {
                    "Location": f"{self.hub.url.replace('127.0.0.1', 'localhost')}/{place}",
                    "X-Linked-Etag": f'"{digest}"',
                    "X-Linked-Size": str(len(files[file])),
                    "X-Repo-Commit": commit,
                },
            )

    def _api(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        name, tree = (name, "") if revision else rest.split("/tree/", 1) if "/tree/" in rest else (rest, "")
        repository = self._allowed(name)
        if not repository:
            return
        wanted = revision or tree.split("/")[0] or "main"
        commit = repository.branches.get(wanted, wanted)
        if commit not in repository.commits:
            self._refuse(404, "RevisionNotFound")
            return
        files = repository.commits[commit]
        if tree:
            answer: object = [
                {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
                for path, content in files.items()
            ]
        else:
            siblings = [{"rfilename": path} for path in files]
            answer = {"id": name.removeprefix("datasets/"), "_id": "0" * 24, "sha": commit, "siblings": siblings}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _allowed(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
        elif repository.gated and self.headers.get("Authorization") != "Bearer hf_let_me_in":
            self._refuse(403 if "Authorization" in self.headers else 401, "GatedRepo")
        else:
            return repository
        return None

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _content(self, file: str, content: bytes, headers: dict[str, str]) -> None:
        first = 0
        if asked := self.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206 if asked else 200, content[first:], headers, self.hub.cut.get(file.split("/")[-1], []))

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: list[int] | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut and len(body) > cut[0]:
            self.wfile.write(body[: cut.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(body)
