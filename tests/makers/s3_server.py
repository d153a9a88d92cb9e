"""An S3 server on this machine (moto's), for as long as a test needs one."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import pytest

KEY, SECRET = "AKIAOFTHISTEST00", "secret-of-this-test"


@dataclass(frozen=True)
class Server:
    """A server that answers at `endpoint`, and what its clients need in their environment."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def empty(self) -> None:
        """Forget everything, also who may do what."""
        self._tell("reset", b"")
        self._tell("reset-auth", b"inf")

    def demand_permission(self) -> None:
        """From now on look at the credentials of every request; by default nobody does."""
        self._tell("reset-auth", b"0")

    def _tell(self, command: str, content: bytes) -> None:
        with urlopen(
            Request(f"{self.endpoint}/moto-api/{command}", content, {"Content-Type": "text/plain"}, method="POST")
        ) as answer:
            assert answer.status == 200


@contextmanager
def s3_server() -> Iterator[Server]:
    """Run it; a test that needs it is skipped where the extra `s3` or the server is not installed."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It logs every request.
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield Server("http://{}:{}".format(*server.get_host_and_port()))
    finally:
        server.stop()


class Bucket:
    """A bucket of the server, looked at through boto3, which our code does not use."""

    def __init__(self, server: Server, name: str = "bucket") -> None:
        import boto3

        self.name = name
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=name)

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Bytes of every object below `prefix`, by name there."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        names = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {name.removeprefix(prefix).lstrip("/"): self.read(name) for name in names}

    def read(self, name: str) -> bytes:
        return bytes(self._client.get_object(Bucket=self.name, Key=name)["Body"].read())

    def write(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=name, Body=content)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=name)

    def unfinished(self) -> list[str]:
        """Names of uploads that were begun and neither completed nor given up."""
        return [entry["Key"] for entry in self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]

    def keep_versions(self) -> None:
        """From now on count how often each object was written, see `versions`."""
        self._client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def versions(self) -> dict[str, int]:
        """How often each object was written, by address."""
        found = self._client.list_object_versions(Bucket=self.name).get("Versions", ())
        return dict(Counter(f"s3://{self.name}/{entry['Key']}" for entry in found))
