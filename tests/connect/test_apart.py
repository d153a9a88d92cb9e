"""Files that harm their decoder, where a person names them: each costs one message, or one sample of a probe."""

import ctypes
import os
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from pipeline.connect import embed_files
from pipeline.decode.isolated import POSSIBLE, Limits
from pipeline.errors import SampleError, UserError
from pipeline.plan.probe import probe_encode
from pipeline.progress import Silent
from pipeline.shard.build import ShardSettings, build_shards
from pipeline.spaces.apart import preprocess_apart
from tests.conftest import HashSpace, png

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="processes cannot be forked here")

HARM = {
    "crash": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "hang": lambda: time.sleep(1000),
    "memory": lambda: bytearray(1 << 45),
    "hunger": lambda: [np.empty(1 << 22) for _ in iter(int, 1)],
}


class Harmed(HashSpace):
    """A space whose decoder is harmed by some files."""

    def __init__(self, harmful: dict[bytes, str]) -> None:
        super().__init__()
        self.harmful = harmful

    def preprocess(self, modality, payload):
        if name := self.harmful.get(payload):
            HARM[name]()
        return super().preprocess(modality, payload)


@pytest.mark.parametrize("harm", HARM)
def test_the_others_are_there_whatever_one_does(harm):
    files = [png(number) for number in range(5)]
    with ExitStack() as stack:
        prepare = preprocess_apart(Harmed({files[2]: harm}), "image", stack, Limits(1.0, 1 << 30))
        found = prepare(files)
    assert [isinstance(one, SampleError) for one in found] == [False, False, True, False, False]
    for one, payload in zip(found, files, strict=True):
        if not isinstance(one, SampleError):
            np.testing.assert_array_equal(one, HashSpace().preprocess("image", payload))


@pytest.mark.parametrize("harm", ["crash", "abort", "memory"])
def test_a_file_that_is_embedded_is_named(tmp_path: Path, harm: str):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    space = Harmed({png(1): harm})
    with pytest.raises(UserError, match=r"1\.png is not a usable image \(decode: the decoder "):
        embed_files(space, sorted(tmp_path.iterdir()))


def test_a_probe_goes_on_behind_a_crash(tmp_path: Path):
    (tmp_path / "raw").mkdir()
    for number in range(6):
        (tmp_path / "raw" / f"{number}.png").write_bytes(png(number))
    build_shards(tmp_path / "raw", tmp_path / "shards", ShardSettings(("image",), 4, "error", 0.0), Silent())
    pace = probe_encode(Harmed({png(0): "crash", png(3): "abort"}), "image", tmp_path / "shards", 3)
    assert pace.preprocess > 0 and pace.compute > 0
