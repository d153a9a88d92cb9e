"""The same count (test_nothing_vanishes.py) for AudioCaps, Clotho, and sources behind an address."""

import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shard.makers import picture, shards
from tests.shard.sources.test_nothing_vanishes import GOOD, LIMITED, fresh, place, total

__all__ = ["place"]  # a fixture

CAPTIONS = st.sampled_from(["a dog", '"two, cats"', "", " ", "x" * 70_000, "nul\0", "ünï"])


@LIMITED
@given(st.lists(st.one_of(CAPTIONS, st.just(None)), max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_rows_of_audiocaps(place, rows, end):
    source, out = fresh(place)
    source.mkdir()
    lines = ["audiocap_id,youtube_id,start_time,caption", "7,good,30,fine"]
    # A row of too many cells says nothing that could be trusted.
    lines += [f"{n + 10},v{n // 3},{n % 3}," + ("a,b,c" if one is None else one) for n, one in enumerate(rows)]
    (source / "test.csv").write_bytes(end.join(lines).encode())
    assert total(shards(source / "test.csv", out, "text")[2]) == len(lines) - 1


@LIMITED
@given(st.lists(st.lists(CAPTIONS, min_size=5, max_size=5), max_size=8), st.integers(0, 3))
def test_captions_of_clotho(place, rows, ragged):
    source, out = fresh(place)
    source.mkdir()
    lines = ["file_name," + ",".join(f"caption_{n}" for n in range(1, 6)), "good.wav,a,b,c,d,e"]
    lines += [f"City street ({n}).wav," + ",".join(row) for n, row in enumerate(rows)]
    lines += [f"cut{n}.wav,a,b" for n in range(ragged)]
    (source / "c.csv").write_text("\n".join(lines) + "\n")
    # A whole row is five captions; a row with other cells than the header is one reject.
    assert total(shards(source / "c.csv", out, "text")[2]) == 5 * (1 + len(rows)) + ragged


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path_factory.mktemp("served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


LINES = st.sampled_from(['{"caption": "a dog"}', '{"caption": 3}', "{", "[]", "", '{"caption": ""}', '{"other": "x"}'])
MEMBERS = st.lists(st.sampled_from([GOOD, b"", b"words", b"<html>"]), max_size=8)


@LIMITED
@given(lines=st.lists(LINES, max_size=12), members=MEMBERS)
def test_behind_an_address_as_on_the_disk(served, place, lines, members):
    folder, address = served
    _, out = fresh(place)
    lines = ['{"caption": "good"}', *lines]
    (folder / "c.jsonl").write_text("\n".join(lines))
    manifest = shards(f"{address}/c.jsonl", out / "texts", "text")[2]
    assert total(manifest) == len([line for line in lines if line.strip()])
    with tarfile.open(folder / "x.tar", "w") as archive:
        for number, content in enumerate([picture(5), *members]):
            info = tarfile.TarInfo(f"k{number}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert total(shards(f"{address}/x.tar", out / "pictures", "image", duplicates="first")[2]) == 1 + len(members)
