"""The requests that huggingface_hub makes to write a repository, as the hub answers them."""

import base64
import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fetch.hub import Hub

TOKEN = "hf_writes"
LARGE_SUFFIXES = (".safetensors", ".npy")  # .gitattributes of a new repository


class Uploads:
    """What was sent and is not committed yet.

    Attributes:
        types: How each file arrived: ``regular`` or ``lfs``.
    """

    def __init__(self, hub: "Hub") -> None:
        self.hub = hub
        self.large: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.messages: list[str] = []

    def answer(self, path: str, body: bytes) -> object:
        """The answer to a POST; None if there is none."""
        if path == "api/validate-yaml":
            return {"errors": [], "warnings": []}
        content = json.loads(body.splitlines()[0]) if body else {}
        if path == "api/repos/create":
            name = f"{content.get('organization')}/{content['name']}"
            if name not in self.hub.repositories:
                self.hub.add(name, {}, "0" * 40)
            return {"url": f"{self.hub.url}/{name}", "id": name, "name": name}
        if path.endswith(".git/info/lfs/objects/batch"):
            return {"transfer": "basic", "objects": [self._wanted(one) for one in content["objects"]]}
        name, _, rest = path.removeprefix("api/models/").partition("/preupload/")
        if rest:
            return {"files": [self._mode(one["path"]) for one in content["files"]]}
        name, _, rest = path.removeprefix("api/models/").partition("/commit/")
        return self._commit(name, body) if rest else None

    def put(self, digest: str, body: bytes) -> None:
        """A large file."""
        assert hashlib.sha256(body).hexdigest() == digest
        self.large[digest] = body

    def _wanted(self, one: dict[str, object]) -> dict[str, object]:
        if one["oid"] in self.large:
            return dict(one)
        return {**one, "actions": {"upload": {"href": f"{self.hub.url}/put/{one['oid']}"}}}

    def _mode(self, path: str) -> dict[str, object]:
        mode = "lfs" if path.endswith(LARGE_SUFFIXES) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def _commit(self, name: str, body: bytes) -> object:
        repository = self.hub.repositories[name]
        files = dict(repository.commits.get(repository.branches["main"], {}))
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.types[value["path"]] = "regular"
            else:
                files[value["path"]] = self.large[value["oid"]]
                self.types[value["path"]] = "lfs"
        commit = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        self.hub.add(name, files, commit)
        return {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"}
