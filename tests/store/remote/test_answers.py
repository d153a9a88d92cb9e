"""What stores and networks refuse, in words: who can put it right, what to do, and no secret."""

import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import McrError, TryAgainError, UserError
from pipeline.store.remote.objects import fetch, listed, located, put, remove
from tests.makers.s3_server import KEY, SECRET, Bucket, Server

PART = "s3://bucket/x/00000.tar"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.tar"
    path.write_bytes(b"content" * 1000)
    return path


def every(source: Path, address: str = "s3://bucket/x") -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: put(source, f"{address}/00000.tar"),
        "list": lambda: listed(address),
        "fetch": lambda: fetch(f"{address}/00000.tar", source.with_name("copy")),
        "remove": lambda: remove(f"{address}/00000.tar"),
    }


def refusal(action: Callable[[], object]) -> McrError:
    with pytest.raises(McrError) as caught:
        action()
    said = f"{caught.value.message} {caught.value.hint}"
    assert SECRET not in said and KEY not in said and caught.value.hint
    return caught.value


@pytest.mark.parametrize("action", ["put", "list"])
def test_a_bucket_that_does_not_exist(s3: Server, source: Path, action: str) -> None:
    error = refusal(every(source, "s3://nowhere/x")[action])
    assert isinstance(error, UserError) and "bucket does not exist (NoSuchBucket)" in error.message


@pytest.mark.parametrize("action", ["put", "list", "fetch", "remove"])
def test_wrong_credentials(s3: Server, bucket: Bucket, source: Path, action: str) -> None:
    put(source, PART)
    s3.demand_permission()
    error = refusal(every(source)[action])
    assert isinstance(error, UserError) and "credentials" in error.message


@pytest.mark.parametrize("action", ["put", "list", "fetch", "remove"])
def test_no_credentials(bucket: Bucket, source: Path, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error = refusal(every(source)[action])
    assert isinstance(error, UserError) and "credentials are missing" in error.message


def test_credentials_that_may_do_nothing(
    s3: Server, bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real user of the server, with a key of its own and no policy."""
    import boto3
    import s3fs

    given = {
        "endpoint_url": s3.endpoint,
        "aws_access_key_id": KEY,
        "aws_secret_access_key": SECRET,
        "region_name": "us-east-1",
    }
    iam = boto3.client("iam", **given)
    iam.create_user(UserName="guest")
    key = iam.create_access_key(UserName="guest")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    s3.demand_permission()
    for action in every(source).values():
        error = refusal(action)
        assert isinstance(error, UserError) and "do not permit" in error.message
        assert key["SecretAccessKey"] not in error.message and key["AccessKeyId"] not in error.message


def test_a_server_that_is_not_there(bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    error = refusal(every(source)["list"])
    assert isinstance(error, TryAgainError) and error.exit_code == 75


def test_a_connection_that_is_cut_in_the_middle(bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes some bytes and hangs up: nothing is recorded, and the command may be run again."""
    import s3fs

    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        assert isinstance(refusal(every(source)["put"]), TryAgainError)
    assert not bucket.contents()


def test_half_an_upload_does_not_show(bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that goes in several pieces, the second one fails: the object does not appear, and the pieces are given up."""
    import s3fs
    from s3fs import core

    source.write_bytes(b"x" * (11 << 20))
    monkeypatch.setattr(core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    real, sent = s3fs.S3FileSystem._call_s3, []

    async def failing(self: object, method: str, *arguments: object, **options: object) -> object:
        if method == "upload_part":
            sent.append(method)
            if len(sent) == 2:
                raise ConnectionResetError
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", failing)
    assert isinstance(refusal(every(source)["put"]), TryAgainError)
    assert len(sent) >= 2 and not bucket.contents() and not bucket.unfinished()
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", real)
    location = put(source, PART)
    assert bucket.contents("x") == {"00000.tar": source.read_bytes()} and location.etag.endswith("-3")


def test_a_store_that_keeps_half_is_found_out(bucket: Bucket, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    real = s3fs.S3FileSystem.put_file

    def half(self: object, path: str, place: str) -> None:
        real(self, path, place)
        bucket.write("x/00000.tar", source.read_bytes()[:100])

    monkeypatch.setattr(s3fs.S3FileSystem, "put_file", half)
    assert "holds 100 bytes after 7,000 were uploaded" in refusal(every(source)["put"]).message


def test_an_object_of_another_writer_is_seen_at_once(bucket: Bucket, source: Path) -> None:
    """No listing is remembered: some clients keep one for as long as a process lives."""
    location = put(source, PART)
    assert listed("s3://bucket/x") == {"00000.tar": location}
    bucket.write("x/00000.tar", b"other")
    bucket.write("x/deep/er.tar", b"another")
    assert {name: seen.size for name, seen in listed("s3://bucket/x").items()} == {"00000.tar": 5, "deep/er.tar": 7}


@pytest.mark.slow
def test_more_objects_than_one_answer_holds_are_listed(bucket: Bucket) -> None:
    for number in range(1002):
        bucket.write(f"x/{number:05d}.tar", b"1")
    assert len(listed("s3://bucket/x")) == 1002


@pytest.mark.parametrize("address", ["nonsense://x/y", "gs://bucket/x"])
def test_a_protocol_without_its_package_says_what_is_missing(source: Path, address: str) -> None:
    error = refusal(every(source, address)["list"])
    assert isinstance(error, UserError) and ("not installed" in error.message or "The protocol of" in error.message)


def test_a_name_that_no_bucket_can_have(s3: Server, source: Path) -> None:
    error = refusal(every(source, "s3://no bucket/x")["put"])
    assert isinstance(error, UserError) and "does not accept s3://no bucket/x" in error.message


def test_a_place_that_lets_nobody_remove(source: Path) -> None:
    error = refusal(every(source, "http://127.0.0.1:9/x")["remove"])
    assert isinstance(error, UserError) and "cannot be written to or listed" in error.message


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the device that is always full is Linux's")
def test_a_full_disk_here_is_not_taken_for_a_store_that_fails() -> None:
    MemoryFileSystem().pipe_file("/x/00000.tar", b"content")
    error = refusal(lambda: fetch("memory://x/00000.tar", Path("/dev/full")))
    assert isinstance(error, TryAgainError) and error.message.startswith("no space is left on the disk")


def test_to_remove_what_is_gone_already_is_no_error() -> None:
    MemoryFileSystem().pipe_file("/x/00001.tar", b"content")
    for _ in range(2):
        remove("memory://x/00001.tar")
    assert "/x/00001.tar" not in MemoryFileSystem.store


def test_a_server_that_does_not_say_how_large_a_file_is() -> None:
    class Sizeless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"content")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sizeless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        error = refusal(lambda: located(f"http://127.0.0.1:{server.server_port}/00000.tar"))
        server.shutdown()
    assert isinstance(error, UserError) and "does not say how large it is" in error.message
