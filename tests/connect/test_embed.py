"""Files in, unit rows out, in the order of the files whatever their modalities."""

import numpy as np
import pytest
import torch

from pipeline.connect import embed_files
from pipeline.connect.embed import modality_of_file
from pipeline.errors import UserError
from tests.conftest import HashSpace, png


def test_rows_are_in_the_order_of_the_files_across_modalities_and_batches(tmp_path, hash_space, monkeypatch):
    monkeypatch.setattr("pipeline.connect.embed.EMBED_ROWS", 2)
    contents = {"b.png": png(1), "a.txt": b"one", "c.PNG": png(2), "d.txt": b"two", "e.png": png(3)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = embed_files(hash_space, [str(tmp_path / name) for name in contents])
    assert found.dtype == torch.float32 and found.shape == (5, 8)
    for row, content in zip(found, contents.values(), strict=True):
        expected = HashSpace().preprocess("", content).numpy()
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)
    assert embed_files(hash_space, []).shape == (0, 8)


def test_what_cannot_be_embedded_is_named(tmp_path, hash_space):
    for name in ("bad.png", "a.flac", "a.xyz"):
        (tmp_path / name).write_bytes(b"bad")
    with pytest.raises(UserError, match=r"bad\.png is not a usable image \(decode: the bytes say"):
        embed_files(hash_space, [tmp_path / "bad.png"])
    with pytest.raises(UserError, match="does not embed audio"):
        embed_files(hash_space, [tmp_path / "a.flac"])
    with pytest.raises(UserError, match=r"a\.xyz is not a supported kind of file"):
        embed_files(hash_space, [tmp_path / "a.xyz"])
    with pytest.raises(UserError, match="There is no file"):
        embed_files(hash_space, [tmp_path / "gone.png"])


def test_modality_by_ending():
    from pathlib import Path

    names = {"a.jpeg": "image", "a.b.MP3": "audio", "a.npy": "point", "a.txt": "text"}
    assert {name: modality_of_file(Path(name)) for name in names} == names
