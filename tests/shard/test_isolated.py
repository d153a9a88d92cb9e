"""A file that crashes, hangs or starves its decoder on the way into a shard is a reject by key."""

import ctypes
import time

import pytest

from pipeline.decode.isolated import POSSIBLE, Isolated, Limits
from pipeline.shard import members
from pipeline.shard.formats import images, meshes
from pipeline.shard.members import Conversion
from tests.shard.makers import mesh, picture, shards

HARM = [lambda: ctypes.string_at(0), lambda: time.sleep(1000), lambda: bytearray(1 << 45)]
REASONS = ["crashed", "still busy after 1 s", "more than 256 MB"]


@pytest.mark.skipif(not POSSIBLE, reason="only where processes are forked")
@pytest.mark.parametrize("modality", ["image", "point"])
def test_conversions_are_isolated(tmp_path, monkeypatch, modality):
    make = (lambda n: picture(n, side=(40, 30))) if modality == "image" else (lambda n: mesh("obj") + b"# %d\n" % n)
    place, name = (images, "shrink") if modality == "image" else (meshes, "sample_mesh")
    real = getattr(place, name)

    def harmful(content, *rest):
        for number, harm in enumerate(HARM):
            if content == make(90 + number):
                harm()
        return real(content, *rest)

    monkeypatch.setattr(place, name, harmful)
    with Isolated(members._convert, 1, Limits(1.0, 1 << 28)) as processes:
        monkeypatch.setattr(members, "_processes", lambda _: processes)
        folder = tmp_path / "in"
        folder.mkdir()
        extension = "png" if modality == "image" else "obj"
        for number in [*range(12), 90, 91, 92]:
            (folder / f"f{number:02d}.{extension}").write_bytes(make(number))
        samples, rejected, _ = shards(folder, tmp_path / "out", modality, conversion=Conversion(max_side=20))
    assert sorted(samples) == [f"f{number:02d}" for number in range(12)]
    for key, reason in zip(("f90", "f91", "f92"), REASONS, strict=True):
        assert reason in rejected[key]
